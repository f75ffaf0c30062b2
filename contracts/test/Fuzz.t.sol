// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IFileLedger} from "../src/interfaces/IFileLedger.sol";
import {LedgerTest} from "./LedgerTest.sol";
import {VM} from "./Vm.sol";

/// The rules with any account, salt, version, record and block.
contract FuzzTest is LedgerTest {
    uint32 private constant LAST = type(uint32).max;

    function _within(uint256 x, uint256 low, uint256 high) private pure returns (uint256) {
        return low + x % (high - low + 1);
    }

    /// Any calldata to any of the functions that write.
    function _writeCall(uint256 choice, bytes memory tail) private pure returns (bytes memory) {
        bytes4[4] memory selectors = [
            IFileLedger.put.selector,
            IFileLedger.putMany.selector,
            IFileLedger.rename.selector,
            IFileLedger.remove.selector
        ];
        return abi.encodePacked(selectors[choice % 4], tail);
    }

    /// A call that an account which knows everything of an owner could make.
    function _copiedCall(uint256 choice, bytes32 salt, bytes32 salt2, uint32 version, uint32 version2)
        private
        pure
        returns (bytes memory)
    {
        if (choice % 4 == 0) return abi.encodeCall(IFileLedger.put, (salt, version, _record(8)));
        if (choice % 4 == 1) return abi.encodeCall(IFileLedger.rename, (salt, version, salt2, version2, _record(8)));
        if (choice % 4 == 2) return abi.encodeCall(IFileLedger.remove, (salt, version));
        bytes32[] memory salts = new bytes32[](2);
        uint32[] memory versions = new uint32[](2);
        bytes[] memory records = new bytes[](2);
        (salts[0], salts[1]) = (salt, salt2);
        (versions[0], versions[1]) = (version, version2);
        (records[0], records[1]) = (_record(8), _record(9));
        return abi.encodeCall(IFileLedger.putMany, (salts, versions, records));
    }

    /// The owner's files at both salts: one with two versions, one removed.
    function _ownTwoFiles(bytes32 salt, bytes32 salt2) private {
        _put(OWNER, salt, 0);
        _put(OWNER, salt, 1);
        VM.roll(START + 1);
        _put(OWNER, salt2, 0);
        _remove(OWNER, salt2, 1);
        VM.roll(START + 2);
    }

    function _ownerState(bytes32 salt, bytes32 salt2) private view returns (bytes32) {
        (uint40 headBlock, uint64 seq) = ledger.account(OWNER);
        return keccak256(abi.encode(_slot(OWNER, salt), _slot(OWNER, salt2), headBlock, seq));
    }

    function testFuzz_another_account_with_the_owners_salts_reaches_only_files_of_its_own(
        address other,
        bytes32 salt,
        bytes32 salt2,
        uint8[4] calldata choices,
        uint8 versions
    ) public {
        VM.assume(other != OWNER && salt != salt2);
        _ownTwoFiles(salt, salt2);
        bytes32 before = _ownerState(salt, salt2);
        for (uint256 i = 0; i < choices.length; i++) {
            // Versions that are the owner's, or the other's own, or stale.
            uint32 version = uint32(versions >> (2 * i)) & 3;
            VM.recordLogs();
            VM.prank(other);
            bool ok = _call(_copiedCall(choices[i], salt, salt2, version, uint32(choices[i]) >> 6));
            require(_ownerState(salt, salt2) == before, "another account changed what is the owner's");
            Event[] memory events = _events();
            for (uint256 j = 0; ok && j < events.length; j++) {
                require(events[j].owner == other, "an event in another name");
                bytes32 id = events[j].fileId;
                require(id == _id(other, salt) || id == _id(other, salt2), "a file of somebody else");
            }
        }
        require(_slot(other, salt) == 0 || address(uint160(_slot(other, salt) >> 96)) == other, "owner in the slot");
    }

    function testFuzz_any_calldata_of_another_account_leaves_the_owners_files_alone(
        address other,
        uint8 choice,
        bytes calldata tail
    ) public {
        VM.assume(other != OWNER);
        _ownTwoFiles(A, B);
        bytes32 before = _ownerState(A, B);
        VM.prank(other);
        _call(_writeCall(choice, abi.encodePacked(A, tail)));
        require(_ownerState(A, B) == before, "another account changed what is the owner's");
    }

    function testFuzz_a_put_writes_what_it_was_given(
        address owner,
        bytes32 salt,
        uint32 version,
        uint8 kind,
        uint40 blockNumber,
        bytes calldata record
    ) public {
        VM.assume(record.length > 0 && record.length <= 4096 && version < LAST);
        if (version > 0) _age(owner, salt, version, IFileLedger.EventKind(kind % 4));
        VM.roll(blockNumber);
        VM.recordLogs();
        VM.prank(owner);
        (bytes32 fileId, uint32 written) = ledger.put(salt, version, record);
        require(fileId == _id(owner, salt), "fileId");
        _same(written, uint256(version) + 1, "version");
        _same(_slot(owner, salt), _word(owner, written, blockNumber, IFileLedger.EventKind.Put), "slot");
        _same(_events()[0], Event(fileId, owner, written, IFileLedger.EventKind.Put, 1, 0, record));
    }

    function testFuzz_a_record_of_another_length_is_refused(uint256 length) public {
        length = _within(length, 4097, 40_000);
        bytes memory record = new bytes(length);
        _expectRecordLength(length);
        ledger.put(A, 0, record);
    }

    function testFuzz_a_wrong_version_changes_nothing(
        uint32 actual,
        uint32 expected,
        uint8 kind,
        uint8 choice,
        uint32 otherVersion
    ) public {
        VM.assume(actual != expected);
        if (actual > 0) _age(OWNER, A, actual, IFileLedger.EventKind(kind % 4));
        uint256 before = _slot(OWNER, A);
        _expectConflict(OWNER, A, expected, actual);
        VM.prank(OWNER);
        _call(_copiedCall(choice, A, B, expected, otherVersion));
        _same(_slot(OWNER, A), before, "slot");
        _same(_slot(OWNER, B), 0, "slot of the other");
        (, uint64 seq) = ledger.account(OWNER);
        _same(seq, 0, "seq");
    }

    function testFuzz_only_live_files_leave(uint32 version, uint8 kind, bool rename) public {
        VM.assume(version > 0 && version < LAST);
        IFileLedger.EventKind last = IFileLedger.EventKind(kind % 4);
        bool live = last == IFileLedger.EventKind.Put || last == IFileLedger.EventKind.RenamedHere;
        _age(OWNER, A, version, last);
        if (!live) _expectNotFound(OWNER, A);
        if (rename) _rename(OWNER, A, version, B, 0);
        else _remove(OWNER, A, version);
        _same(_version(_slot(OWNER, A)), live ? uint256(version) + 1 : version, "version");
    }

    function testFuzz_a_batch_is_the_same_as_puts_one_by_one(bytes32[8] calldata seeds, uint8 count) public {
        uint256 items = _within(count, 1, 8);
        bytes32[] memory salts = new bytes32[](items);
        uint32[] memory versions = new uint32[](items);
        bytes[] memory records = new bytes[](items);
        VM.recordLogs();
        for (uint256 i = 0; i < items; i++) {
            // Few salts, so that some come more than once.
            salts[i] = bytes32(uint256(seeds[i]) % 3);
            versions[i] = _version(_slot(OWNER, salts[i]));
            records[i] = _record(1 + uint256(seeds[i]) % 100);
            VM.prank(OWNER);
            ledger.put(salts[i], versions[i], records[i]);
        }
        Event[] memory single = _events();
        VM.prank(OTHER);
        ledger.putMany(salts, versions, records);
        Event[] memory batch = _events();
        _same(batch.length, items, "events");
        for (uint256 i = 0; i < items; i++) {
            require(batch[i].owner == OTHER && batch[i].fileId == _id(OTHER, salts[i]), "whose file");
            (batch[i].owner, batch[i].fileId) = (single[i].owner, single[i].fileId);
            _same(batch[i], single[i]);
            _same(_slot(OTHER, salts[i]) << 160, _slot(OWNER, salts[i]) << 160, "slot");
        }
    }
}
