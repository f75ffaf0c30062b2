// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {FileLedger} from "../src/FileLedger.sol";
import {IFileLedger} from "../src/interfaces/IFileLedger.sol";
import {Fixture} from "./Fixture.sol";
import {VM} from "./Vm.sol";

/// Three owners that write to the same four salts in any order, and all that a reader of the chain sees of it.
///
/// It keeps events as a log does, by owner, and checks each write against the slots before it: a write succeeds when
/// and only when the rules say so, and no slot but those that it names has changed.
contract Handler is Fixture {
    uint256 public constant OWNERS = 3;
    uint256 public constant SALTS = 4;

    /// An event and the block that it is in. Of the record only the length counts.
    struct Seen {
        bytes32 fileId;
        uint32 version;
        IFileLedger.EventKind kind;
        uint64 seq;
        uint40 prevBlock;
        uint256 inBlock;
        uint256 recordLength;
    }

    mapping(address owner => Seen[]) private _log;

    constructor(FileLedger ledger_) {
        ledger = ledger_;
    }

    function owner(uint256 i) public pure returns (address) {
        return address(uint160(0xA000 + i % OWNERS));
    }

    function salt(uint256 i) public pure returns (bytes32) {
        return keccak256(abi.encode(i % SALTS));
    }

    function log(address of_) external view returns (Seen[] memory) {
        return _log[of_];
    }

    // Writes. `slip` is mostly 0: else the version that is named is another one than the file's.

    function put(uint256 who, uint256 where, uint8 slip, uint16 length) external {
        (address caller, bytes32 name) = (owner(who), salt(where));
        (uint32 actual, uint32 expected) = _guess(caller, name, slip);
        // Mostly right, now and then 0 or more than 4096.
        uint256 size = length % 16 == 0 ? uint256(length) % 8192 : 1 + length % 64;
        bool good = expected == actual && size >= 1 && size <= 4096;
        _write(caller, abi.encodeCall(IFileLedger.put, (name, expected, _record(size))), good, 1, name, name);
    }

    function putMany(uint256 who, uint256 where, uint256 where2, uint8 slip) external {
        address caller = owner(who);
        bytes32[] memory names = new bytes32[](2);
        uint32[] memory versions = new uint32[](2);
        bytes[] memory records = new bytes[](2);
        (names[0], names[1]) = (salt(where), salt(where2));
        uint32 actual;
        (actual, versions[0]) = _guess(caller, names[0], slip);
        versions[1] = _version(_slot(caller, names[1])) + (names[0] == names[1] ? 1 : 0);
        (records[0], records[1]) = (_record(3), _record(5));
        bytes memory data = abi.encodeCall(IFileLedger.putMany, (names, versions, records));
        _write(caller, data, versions[0] == actual, 2, names[0], names[1]);
    }

    function rename(uint256 who, uint256 from, uint256 to, uint8 slipFrom, uint8 slipTo) external {
        address caller = owner(who);
        (bytes32 old, bytes32 new_) = (salt(from), salt(to));
        (uint32 actualOld, uint32 expectedOld) = _guess(caller, old, slipFrom);
        (uint32 actualNew, uint32 expectedNew) = _guess(caller, new_, slipTo);
        bool good = old != new_ && actualOld == expectedOld && actualNew == expectedNew && isLive(_slot(caller, old));
        bytes memory data = abi.encodeCall(IFileLedger.rename, (old, expectedOld, new_, expectedNew, _record(7)));
        _write(caller, data, good, 2, old, new_);
    }

    function remove(uint256 who, uint256 where, uint8 slip) external {
        (address caller, bytes32 name) = (owner(who), salt(where));
        (uint32 actual, uint32 expected) = _guess(caller, name, slip);
        bool good = actual == expected && isLive(_slot(caller, name));
        _write(caller, abi.encodeCall(IFileLedger.remove, (name, expected)), good, 1, name, name);
    }

    /// Without this, writes share a block.
    function mine(uint8 blocks) external {
        VM.roll(block.number + 1 + blocks);
    }

    function isLive(uint256 slot) public pure returns (bool) {
        return
            slot != 0 && (_kind(slot) == IFileLedger.EventKind.Put || _kind(slot) == IFileLedger.EventKind.RenamedHere);
    }

    function _guess(address caller, bytes32 name, uint8 slip) private view returns (uint32 actual, uint32 expected) {
        actual = _version(_slot(caller, name));
        expected = slip % 8 != 7 ? actual : slip % 16 == 7 ? actual + 1 : actual == 0 ? 9 : actual - 1;
    }

    function _write(address caller, bytes memory data, bool good, uint256 events, bytes32 a, bytes32 b) private {
        uint256[] memory before = _slots();
        VM.recordLogs();
        VM.prank(caller);
        bool ok = _call(data);
        require(ok == good, "a write must succeed when and only when the rules allow it");
        uint256[] memory afterwards = _slots();
        for (uint256 i = 0; i < before.length; i++) {
            (address whose, bytes32 name) = (owner(i / SALTS), salt(i));
            bool named = ok && whose == caller && (name == a || name == b);
            require(named == (before[i] != afterwards[i]), "a write must change the slots that it names and no others");
        }
        // What a call that failed had emitted is recorded too, and means nothing.
        Event[] memory seen = _events();
        if (!ok) return;
        require(seen.length == events, "a write must emit one event for each file");
        for (uint256 i = 0; i < seen.length; i++) {
            Event memory e = seen[i];
            require(e.owner == caller, "an event must name the writer");
            _log[caller].push(Seen(e.fileId, e.version, e.kind, e.seq, e.prevBlock, block.number, e.record.length));
        }
    }

    function _slots() private view returns (uint256[] memory slots) {
        slots = new uint256[](OWNERS * SALTS);
        for (uint256 i = 0; i < slots.length; i++) {
            slots[i] = _slot(owner(i / SALTS), salt(i));
        }
    }
}
