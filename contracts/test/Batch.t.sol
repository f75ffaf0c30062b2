// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IFileLedger} from "../src/interfaces/IFileLedger.sol";
import {LedgerTest} from "./LedgerTest.sol";
import {VM} from "./Vm.sol";

/// Many puts in one transaction: all of them or none, each as if it were alone.
contract BatchTest is LedgerTest {
    bytes32[] private _salts;
    uint32[] private _versions;
    bytes[] private _records;

    function _item(bytes32 salt, uint32 expected, uint256 length) private {
        _salts.push(salt);
        _versions.push(expected);
        _records.push(_record(length));
    }

    function _putMany() private {
        VM.prank(OWNER);
        ledger.putMany(_salts, _versions, _records);
    }

    function test_a_batch_writes_every_item() public {
        _put(OWNER, B, 0);
        VM.roll(START + 1);
        _item(A, 0, 10);
        _item(B, 1, 20);
        VM.recordLogs();
        _putMany();
        Event[] memory events = _events();
        uint40 prev = uint40(START);
        _same(events.length, 2, "events");
        _same(events[0], Event(_id(OWNER, A), OWNER, 1, IFileLedger.EventKind.Put, 2, prev, _record(10)));
        _same(events[1], Event(_id(OWNER, B), OWNER, 2, IFileLedger.EventKind.Put, 3, prev, _record(20)));
        _same(_slot(OWNER, A), _word(OWNER, 1, START + 1, IFileLedger.EventKind.Put), "slot of a");
        _same(_slot(OWNER, B), _word(OWNER, 2, START + 1, IFileLedger.EventKind.Put), "slot of b");
        (uint40 headBlock, uint64 seq) = ledger.account(OWNER);
        _same(headBlock, START + 1, "headBlock");
        _same(seq, 3, "seq");
    }

    function test_a_salt_may_come_twice_one_version_after_the_other() public {
        _item(A, 0, 10);
        _item(A, 1, 20);
        VM.recordLogs();
        _putMany();
        _same(_version(_slot(OWNER, A)), 2, "version");
        Event[] memory events = _events();
        _same(events[0], Event(_id(OWNER, A), OWNER, 1, IFileLedger.EventKind.Put, 1, 0, _record(10)));
        _same(events[1], Event(_id(OWNER, A), OWNER, 2, IFileLedger.EventKind.Put, 2, 0, _record(20)));
    }

    function test_a_salt_that_comes_twice_with_the_same_version_is_a_conflict() public {
        _item(A, 0, 10);
        _item(A, 0, 20);
        _expectConflict(OWNER, A, 0, 1);
        _putMany();
        _same(_slot(OWNER, A), 0, "slot");
    }

    function test_one_bad_item_undoes_all_of_them() public {
        _item(A, 0, 10);
        _item(B, 3, 10);
        _expectConflict(OWNER, B, 3, 0);
        _putMany();
        _same(_slot(OWNER, A), 0, "slot");
        (, uint64 seq) = ledger.account(OWNER);
        _same(seq, 0, "seq");
    }

    function test_the_first_bad_item_is_told() public {
        _item(A, 0, 10);
        _item(B, 3, 10);
        _item(A, 1, 0);
        _expectConflict(OWNER, B, 3, 0);
        _putMany();
    }

    function test_each_record_of_a_batch_has_1_to_4096_bytes() public {
        _item(A, 0, 1);
        _item(B, 0, 4096);
        _putMany();
        _item(keccak256("c"), 0, 4097);
        (_versions[0], _versions[1]) = (1, 1);
        _expectRecordLength(4097);
        _putMany();
        _records[2] = "";
        _expectRecordLength(0);
        _putMany();
    }

    function test_a_batch_ends_at_the_last_version() public {
        _age(OWNER, A, type(uint32).max - 1, IFileLedger.EventKind.Put);
        _item(A, type(uint32).max - 1, 1);
        _item(A, type(uint32).max, 1);
        _expectExhausted(OWNER, A);
        _putMany();
    }

    function test_an_empty_batch_and_lists_of_different_length_are_refused() public {
        VM.expectRevert(abi.encodeWithSelector(IFileLedger.BatchLength.selector));
        _putMany();
        _item(A, 0, 10);
        _salts.push(B);
        VM.expectRevert(abi.encodeWithSelector(IFileLedger.BatchLength.selector));
        _putMany();
        _versions.push(0);
        VM.expectRevert(abi.encodeWithSelector(IFileLedger.BatchLength.selector));
        _putMany();
        _records.push(_record(1));
        _putMany();
        _versions.push(0);
        VM.expectRevert(abi.encodeWithSelector(IFileLedger.BatchLength.selector));
        _putMany();
        _versions.pop();
        _records.push(_record(1));
        VM.expectRevert(abi.encodeWithSelector(IFileLedger.BatchLength.selector));
        _putMany();
    }
}
