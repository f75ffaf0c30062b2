// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IFileLedger} from "../src/interfaces/IFileLedger.sol";
import {LedgerTest} from "./LedgerTest.sol";
import {VM} from "./Vm.sol";

/// How an owner's events are found: `seq`, `prevBlock` and the account.
contract EventsTest is LedgerTest {
    function _account(uint256 headBlock, uint256 seq) private view {
        (uint40 foundBlock, uint64 foundSeq) = ledger.account(OWNER);
        _same(foundBlock, headBlock, "headBlock");
        _same(foundSeq, seq, "seq");
    }

    function test_events_of_one_block_share_the_block_before_it() public {
        VM.recordLogs();
        _put(OWNER, A, 0);
        _put(OWNER, B, 0);
        VM.roll(START + 10);
        _put(OWNER, A, 1);
        _rename(OWNER, A, 2, B, 1);
        _remove(OWNER, B, 2);
        VM.roll(START + 20);
        _put(OWNER, A, 3);
        Event[] memory events = _events();
        _same(events.length, 7, "events");
        uint256[7] memory prev = [uint256(0), 0, START, START, START, START, START + 10];
        for (uint256 i = 0; i < 7; i++) {
            _same(events[i].prevBlock, prev[i], "prevBlock");
            _same(events[i].seq, i + 1, "seq");
        }
        _account(START + 20, 7);
    }

    function test_an_account_follows_its_last_event() public {
        _put(OWNER, A, 0);
        _account(START, 1);
        _put(OWNER, A, 1);
        _account(START, 2);
        VM.roll(START + 3);
        _account(START, 2);
        _rename(OWNER, A, 2, B, 0);
        _account(START + 3, 4);
        _remove(OWNER, B, 1);
        _account(START + 3, 5);
    }

    function test_owners_count_for_themselves() public {
        VM.recordLogs();
        _put(OWNER, A, 0);
        _put(OTHER, A, 0);
        VM.roll(START + 1);
        _put(OTHER, B, 0);
        VM.roll(START + 2);
        _put(OWNER, B, 0);
        Event[] memory events = _events();
        _same(events[1].seq, 1, "seq of the other");
        _same(events[1].prevBlock, 0, "prevBlock of the other");
        _same(events[3].seq, 2, "seq");
        _same(events[3].prevBlock, START, "prevBlock");
        _account(START + 2, 2);
    }

    function test_no_seq_comes_twice() public {
        // Account: headBlock (40), prevBlock (40), seq (64), from the least significant bits.
        bytes32 key = keccak256(abi.encode(OWNER, uint256(1)));
        VM.store(address(ledger), key, bytes32((2 ** 64 - 2) << 80 | START));
        _put(OWNER, A, 0);
        _account(START, 2 ** 64 - 1);
        VM.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x11));
        _put(OWNER, A, 1);
        VM.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x11));
        _put(OWNER, B, 0);
    }

    function test_a_block_that_a_slot_cannot_name_takes_no_writes() public {
        VM.roll(2 ** 40 - 1);
        _put(OWNER, A, 0);
        _same(_slot(OWNER, A), _word(OWNER, 1, 2 ** 40 - 1, IFileLedger.EventKind.Put), "slot");
        VM.roll(2 ** 40);
        VM.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x01));
        _put(OWNER, A, 1);
    }
}
