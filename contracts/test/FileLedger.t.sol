// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IFileLedger} from "../src/interfaces/IFileLedger.sol";
import {LedgerTest} from "./LedgerTest.sol";
import {VM} from "./Vm.sol";

/// Puts and removals of one file after the other: the rules of docs/format.md section 8.2.
contract FileLedgerTest is LedgerTest {
    uint32 private constant LAST = type(uint32).max;

    function test_a_file_that_never_existed_has_no_slot_and_its_owner_no_account() public view {
        _same(_slot(OWNER, A), 0, "slot");
        (uint40 headBlock, uint64 seq) = ledger.account(OWNER);
        _same(headBlock, 0, "headBlock");
        _same(seq, 0, "seq");
    }

    function test_a_put_creates_version_1_and_says_so() public {
        VM.prank(OWNER);
        (bytes32 fileId, uint32 version) = ledger.put(A, 0, _record(8));
        require(fileId == keccak256(abi.encode(OWNER, A)), "fileId");
        _same(version, 1, "version");
        _same(_slot(OWNER, A), _word(OWNER, 1, START, IFileLedger.EventKind.Put), "slot");
        (uint40 headBlock, uint64 seq) = ledger.account(OWNER);
        _same(headBlock, START, "headBlock");
        _same(seq, 1, "seq");
    }

    function test_the_event_of_a_put_has_its_record() public {
        VM.recordLogs();
        VM.prank(OWNER);
        ledger.put(A, 0, _record(640));
        Event[] memory events = _events();
        _same(events.length, 1, "events");
        _same(events[0], Event(_id(OWNER, A), OWNER, 1, IFileLedger.EventKind.Put, 1, 0, _record(640)));
    }

    function test_a_put_over_a_file_names_its_version() public {
        _put(OWNER, A, 0);
        VM.roll(START + 5);
        _put(OWNER, A, 1);
        _same(_slot(OWNER, A), _word(OWNER, 2, START + 5, IFileLedger.EventKind.Put), "slot");
    }

    function test_a_stale_version_and_one_from_the_future_are_refused() public {
        _put(OWNER, A, 0);
        _put(OWNER, A, 1);
        uint32[4] memory wrong = [uint32(0), 1, 3, LAST];
        for (uint256 i = 0; i < wrong.length; i++) {
            _expectConflict(OWNER, A, wrong[i], 2);
            _put(OWNER, A, wrong[i]);
            _expectConflict(OWNER, A, wrong[i], 2);
            _remove(OWNER, A, wrong[i]);
            _expectConflict(OWNER, A, wrong[i], 2);
            _rename(OWNER, A, wrong[i], B, 0);
        }
        _expectConflict(OWNER, B, 1, 0);
        _put(OWNER, B, 1);
    }

    function test_a_record_has_1_to_4096_bytes() public {
        uint16[2] memory good = [1, 4096];
        for (uint32 i = 0; i < good.length; i++) {
            VM.prank(OWNER);
            ledger.put(A, i, _record(good[i]));
        }
        uint16[2] memory bad = [0, 4097];
        for (uint256 i = 0; i < bad.length; i++) {
            bytes memory record = _record(bad[i]);
            _expectRecordLength(bad[i]);
            VM.prank(OWNER);
            ledger.put(A, 2, record);
            _expectRecordLength(bad[i]);
            VM.prank(OWNER);
            ledger.rename(A, 2, B, 0, record);
        }
    }

    function test_the_length_of_a_record_is_told_before_its_version() public {
        _expectRecordLength(0);
        VM.prank(OWNER);
        ledger.put(A, 7, "");
    }

    function test_a_removal_takes_a_version_and_has_no_record() public {
        _put(OWNER, A, 0);
        VM.roll(START + 1);
        VM.recordLogs();
        VM.prank(OWNER);
        (bytes32 fileId, uint32 version) = ledger.remove(A, 1);
        require(fileId == _id(OWNER, A), "fileId");
        _same(version, 2, "version");
        _same(_slot(OWNER, A), _word(OWNER, 2, START + 1, IFileLedger.EventKind.Removed), "slot");
        Event[] memory events = _events();
        _same(events.length, 1, "events");
        _same(events[0], Event(_id(OWNER, A), OWNER, 2, IFileLedger.EventKind.Removed, 2, uint40(START), ""));
    }

    function test_a_removed_file_is_put_again_at_the_version_of_its_removal() public {
        _put(OWNER, A, 0);
        _remove(OWNER, A, 1);
        _expectConflict(OWNER, A, 0, 2);
        _put(OWNER, A, 0);
        _put(OWNER, A, 2);
        _same(_slot(OWNER, A), _word(OWNER, 3, START, IFileLedger.EventKind.Put), "slot");
    }

    function test_what_is_not_live_cannot_be_removed() public {
        _expectNotFound(OWNER, A);
        _remove(OWNER, A, 0);
        _put(OWNER, A, 0);
        _remove(OWNER, A, 1);
        _expectNotFound(OWNER, A);
        _remove(OWNER, A, 2);
    }

    function test_a_stale_version_is_told_before_that_a_file_is_not_live() public {
        _expectConflict(OWNER, A, 1, 0);
        _remove(OWNER, A, 1);
        _put(OWNER, A, 0);
        _remove(OWNER, A, 1);
        _expectConflict(OWNER, A, 1, 2);
        _remove(OWNER, A, 1);
        _expectConflict(OWNER, A, 1, 2);
        _rename(OWNER, A, 1, B, 0);
    }

    function test_the_last_version_is_used_and_none_after_it() public {
        _age(OWNER, A, LAST - 1, IFileLedger.EventKind.Put);
        _put(OWNER, A, LAST - 1);
        _same(_slot(OWNER, A), _word(OWNER, LAST, START, IFileLedger.EventKind.Put), "slot");
        _expectExhausted(OWNER, A);
        _put(OWNER, A, LAST);
        _expectExhausted(OWNER, A);
        _remove(OWNER, A, LAST);
        _expectExhausted(OWNER, A);
        _rename(OWNER, A, LAST, B, 0);
        _put(OWNER, B, 0);
        _expectExhausted(OWNER, A);
        _rename(OWNER, B, 1, A, LAST);
    }

    function test_versions_do_not_begin_again_after_the_last_one() public {
        _age(OWNER, A, LAST, IFileLedger.EventKind.Removed);
        _expectConflict(OWNER, A, 0, LAST);
        _put(OWNER, A, 0);
        // Also not because the file is not live: that is told last.
        _expectExhausted(OWNER, A);
        _remove(OWNER, A, LAST);
    }

    function test_two_owners_with_the_same_salt_have_two_files() public {
        _put(OWNER, A, 0);
        _put(OTHER, A, 0);
        _put(OTHER, A, 1);
        _same(_version(_slot(OWNER, A)), 1, "owner");
        _same(_version(_slot(OTHER, A)), 2, "other");
        _expectConflict(OTHER, B, 1, 0);
        _put(OTHER, B, 1);
    }

    function test_a_write_that_is_refused_changes_nothing() public {
        _put(OWNER, A, 0);
        VM.roll(START + 9);
        _expectConflict(OWNER, A, 0, 1);
        _put(OWNER, A, 0);
        _same(_slot(OWNER, A), _word(OWNER, 1, START, IFileLedger.EventKind.Put), "slot");
        (uint40 headBlock, uint64 seq) = ledger.account(OWNER);
        _same(headBlock, START, "headBlock");
        _same(seq, 1, "seq");
    }

    function test_many_slots_are_read_at_once() public {
        _put(OWNER, A, 0);
        bytes32[] memory ids = new bytes32[](1000);
        ids[0] = ids[999] = _id(OWNER, A);
        for (uint256 i = 1; i < 999; i++) {
            ids[i] = _id(OTHER, bytes32(i));
        }
        uint256[] memory slots = ledger.getMany(ids);
        _same(slots.length, 1000, "slots");
        for (uint256 i = 0; i < 1000; i++) {
            _same(slots[i], ledger.get(ids[i]), "slot");
        }
        _same(ledger.getMany(new bytes32[](0)).length, 0, "none");
    }
}
