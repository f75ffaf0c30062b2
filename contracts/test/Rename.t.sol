// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IFileLedger} from "../src/interfaces/IFileLedger.sol";
import {LedgerTest} from "./LedgerTest.sol";
import {VM} from "./Vm.sol";

/// Renames: one write, two files, two events.
contract RenameTest is LedgerTest {
    function setUp() public override {
        super.setUp();
        _put(OWNER, A, 0);
        VM.roll(START + 1);
    }

    function test_a_rename_leaves_the_old_path_and_arrives_at_the_new_one() public {
        VM.recordLogs();
        VM.prank(OWNER);
        (bytes32 fileId, uint32 version) = ledger.rename(A, 1, B, 0, _record(8));
        require(fileId == _id(OWNER, B), "fileId");
        _same(version, 1, "version");
        _same(_slot(OWNER, A), _word(OWNER, 2, START + 1, IFileLedger.EventKind.RenamedAway), "old slot");
        _same(_slot(OWNER, B), _word(OWNER, 1, START + 1, IFileLedger.EventKind.RenamedHere), "new slot");

        Event[] memory events = _events();
        uint40 prev = uint40(START);
        _same(events.length, 2, "events");
        _same(events[0], Event(_id(OWNER, A), OWNER, 2, IFileLedger.EventKind.RenamedAway, 2, prev, ""));
        _same(events[1], Event(_id(OWNER, B), OWNER, 1, IFileLedger.EventKind.RenamedHere, 3, prev, _record(8)));
        (, uint64 seq) = ledger.account(OWNER);
        _same(seq, 3, "seq");
    }

    function test_what_arrived_is_live_and_what_left_is_not() public {
        _rename(OWNER, A, 1, B, 0);
        _expectNotFound(OWNER, A);
        _remove(OWNER, A, 2);
        _expectNotFound(OWNER, A);
        _rename(OWNER, A, 2, keccak256("c"), 0);
        _remove(OWNER, B, 1);
    }

    function test_a_rename_goes_back() public {
        _rename(OWNER, A, 1, B, 0);
        _rename(OWNER, B, 1, A, 2);
        _same(_slot(OWNER, A), _word(OWNER, 3, START + 1, IFileLedger.EventKind.RenamedHere), "slot");
        _same(_slot(OWNER, B), _word(OWNER, 2, START + 1, IFileLedger.EventKind.RenamedAway), "slot");
    }

    function test_a_rename_replaces_a_live_file_whose_version_it_names() public {
        _put(OWNER, B, 0);
        _put(OWNER, B, 1);
        _expectConflict(OWNER, B, 0, 2);
        _rename(OWNER, A, 1, B, 0);
        _rename(OWNER, A, 1, B, 2);
        _same(_slot(OWNER, B), _word(OWNER, 3, START + 1, IFileLedger.EventKind.RenamedHere), "slot");
    }

    function test_a_rename_goes_where_a_file_was_removed() public {
        _put(OWNER, B, 0);
        _remove(OWNER, B, 1);
        _rename(OWNER, A, 1, B, 2);
        _same(_version(_slot(OWNER, B)), 3, "version");
    }

    function test_a_rename_to_a_stale_version_leaves_the_old_path_alone() public {
        _expectConflict(OWNER, B, 5, 0);
        _rename(OWNER, A, 1, B, 5);
        _same(_slot(OWNER, A), _word(OWNER, 1, START, IFileLedger.EventKind.Put), "slot");
        (, uint64 seq) = ledger.account(OWNER);
        _same(seq, 1, "seq");
    }

    function test_a_file_that_does_not_exist_cannot_be_renamed() public {
        _expectNotFound(OWNER, B);
        _rename(OWNER, B, 0, keccak256("c"), 0);
    }

    function test_a_path_is_not_renamed_to_itself() public {
        VM.expectRevert(abi.encodeWithSelector(IFileLedger.SamePath.selector));
        _rename(OWNER, A, 1, A, 1);
        VM.expectRevert(abi.encodeWithSelector(IFileLedger.SamePath.selector));
        _rename(OWNER, A, 1, A, 2);
    }

    function test_errors_of_a_rename_come_in_the_stated_order() public {
        _expectRecordLength(0);
        VM.prank(OWNER);
        ledger.rename(A, 9, A, 9, "");
        VM.expectRevert(abi.encodeWithSelector(IFileLedger.SamePath.selector));
        _rename(OWNER, A, 9, A, 9);
        _expectConflict(OWNER, A, 9, 1);
        _rename(OWNER, A, 9, B, 9);
        _expectConflict(OWNER, B, 9, 0);
        _rename(OWNER, A, 1, B, 9);
        _expectNotFound(OWNER, B);
        _rename(OWNER, B, 0, A, 9);
    }
}
