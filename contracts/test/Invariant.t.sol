// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IFileLedger} from "../src/interfaces/IFileLedger.sol";
import {Handler} from "./Handler.sol";
import {LedgerTest} from "./LedgerTest.sol";

/// What always holds, as IFileLedger numbers it, after any writes of several owners.
contract InvariantTest is LedgerTest {
    Handler private _handler;

    function setUp() public override {
        super.setUp();
        _handler = new Handler(ledger);
    }

    /// Nothing but the handler is called.
    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    /// 1. The handler sees to the rest: a write changes no slot but those of its caller.
    function invariant_a_slot_has_the_owner_that_its_id_was_made_with() external view {
        for (uint256 i = 0; i < _handler.OWNERS(); i++) {
            address owner = _handler.owner(i);
            for (uint256 j = 0; j < _handler.SALTS(); j++) {
                uint256 slot = _slot(owner, _handler.salt(j));
                require(slot == 0 || address(uint160(slot >> 96)) == owner, "owner");
            }
        }
    }

    /// 2, 3, 4: a write that was refused would leave a version out or have it twice.
    function invariant_each_version_has_exactly_one_event_and_the_last_is_where_the_slot_says() external view {
        for (uint256 i = 0; i < _handler.OWNERS(); i++) {
            Handler.Seen[] memory log = _handler.log(_handler.owner(i));
            for (uint256 j = 0; j < _handler.SALTS(); j++) {
                bytes32 fileId = _id(_handler.owner(i), _handler.salt(j));
                uint256 slot = ledger.get(fileId);
                uint32 version = 0;
                uint256 last = type(uint256).max;
                for (uint256 k = 0; k < log.length; k++) {
                    if (log[k].fileId != fileId) continue;
                    version++;
                    _same(log[k].version, version, "versions must go up by one and never repeat");
                    last = k;
                }
                _same(_version(slot), version, "the slot must have the version of the last event");
                if (version == 0) continue;
                _same(_block(slot), log[last].inBlock, "the slot must name the block of the last event");
                _same(uint256(_kind(slot)), uint256(log[last].kind), "the slot must have the kind of the last event");
            }
        }
    }

    /// 5.
    function invariant_seqs_have_no_gap_and_the_account_has_the_last() external view {
        for (uint256 i = 0; i < _handler.OWNERS(); i++) {
            Handler.Seen[] memory log = _handler.log(_handler.owner(i));
            for (uint256 k = 0; k < log.length; k++) {
                _same(log[k].seq, k + 1, "seq");
            }
            (uint40 headBlock, uint64 seq) = ledger.account(_handler.owner(i));
            _same(seq, log.length, "last seq");
            _same(headBlock, log.length == 0 ? 0 : log[log.length - 1].inBlock, "headBlock");
        }
    }

    /// 6. Reads as a client does, block by block.
    function invariant_walking_back_from_the_account_finds_every_event() external view {
        for (uint256 i = 0; i < _handler.OWNERS(); i++) {
            Handler.Seen[] memory log = _handler.log(_handler.owner(i));
            bool[] memory found = new bool[](log.length);
            (uint40 here,) = ledger.account(_handler.owner(i));
            while (here != 0) {
                uint40 next = type(uint40).max;
                for (uint256 k = 0; k < log.length; k++) {
                    if (log[k].inBlock != here) continue;
                    require(next == type(uint40).max || next == log[k].prevBlock, "one block, one prevBlock");
                    next = log[k].prevBlock;
                    found[k] = true;
                }
                require(next < here, "prevBlock must lead to an earlier block");
                here = next;
            }
            for (uint256 k = 0; k < log.length; k++) {
                require(found[k], "an event that no walk finds");
            }
        }
    }

    /// 7.
    function invariant_only_live_files_have_a_record() external view {
        for (uint256 i = 0; i < _handler.OWNERS(); i++) {
            Handler.Seen[] memory log = _handler.log(_handler.owner(i));
            for (uint256 k = 0; k < log.length; k++) {
                bool arrives =
                    log[k].kind == IFileLedger.EventKind.Put || log[k].kind == IFileLedger.EventKind.RenamedHere;
                require(arrives == (log[k].recordLength > 0), "a record must come with arrivals and nothing else");
                bool departs = log[k].kind == IFileLedger.EventKind.RenamedAway;
                if (!departs) continue;
                require(log[k + 1].kind == IFileLedger.EventKind.RenamedHere, "the arrival must follow the departure");
            }
        }
    }
}
