// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IFileLedger} from "./interfaces/IFileLedger.sol";

/// @title The ledger of dstore: one slot for each file, one for each owner, records in events
/// @dev IFileLedger says what it does. Arithmetic is checked throughout: what it costs is far below what storage costs.
contract FileLedger is IFileLedger {
    /// Where an owner's events are. `prevBlock` is that of all events in `headBlock`.
    struct Account {
        uint40 headBlock;
        uint40 prevBlock;
        uint64 seq;
    }

    uint256 private constant MAX_RECORD_LENGTH = 4096;

    mapping(bytes32 fileId => uint256 slot) private _slots;
    mapping(address owner => Account) private _accounts;

    /// @inheritdoc IFileLedger
    function put(bytes32 salt, uint32 expectedVersion, bytes calldata record)
        external
        returns (bytes32 fileId, uint32 version)
    {
        Account memory writer = _open();
        (fileId, version) = _put(writer, salt, expectedVersion, EventKind.Put, record);
        _accounts[msg.sender] = writer;
    }

    /// @inheritdoc IFileLedger
    function putMany(bytes32[] calldata salts, uint32[] calldata expectedVersions, bytes[] calldata records) external {
        uint256 count = salts.length;
        if (count == 0 || expectedVersions.length != count || records.length != count) revert BatchLength();
        Account memory writer = _open();
        for (uint256 i = 0; i < count; i++) {
            _put(writer, salts[i], expectedVersions[i], EventKind.Put, records[i]);
        }
        _accounts[msg.sender] = writer;
    }

    /// @inheritdoc IFileLedger
    function rename(bytes32 oldSalt, uint32 expectedOld, bytes32 newSalt, uint32 expectedNew, bytes calldata record)
        external
        returns (bytes32 fileId, uint32 version)
    {
        _checkRecord(record);
        if (oldSalt == newSalt) revert SamePath();
        Account memory writer = _open();
        _leave(writer, oldSalt, expectedOld, EventKind.RenamedAway);
        (fileId, version) = _put(writer, newSalt, expectedNew, EventKind.RenamedHere, record);
        _accounts[msg.sender] = writer;
    }

    /// @inheritdoc IFileLedger
    function remove(bytes32 salt, uint32 expectedVersion) external returns (bytes32 fileId, uint32 version) {
        Account memory writer = _open();
        (fileId, version) = _leave(writer, salt, expectedVersion, EventKind.Removed);
        _accounts[msg.sender] = writer;
    }

    /// @inheritdoc IFileLedger
    function get(bytes32 fileId) external view returns (uint256 slot) {
        return _slots[fileId];
    }

    /// @inheritdoc IFileLedger
    function getMany(bytes32[] calldata fileIds) external view returns (uint256[] memory slots) {
        slots = new uint256[](fileIds.length);
        for (uint256 i = 0; i < slots.length; i++) {
            slots[i] = _slots[fileIds[i]];
        }
    }

    /// @inheritdoc IFileLedger
    function account(address owner) external view returns (uint40 headBlock, uint64 seq) {
        Account storage stored = _accounts[owner];
        return (stored.headBlock, stored.seq);
    }

    /// The caller's account with this block as its head. One write stores it once, however many events it emits.
    function _open() private view returns (Account memory writer) {
        writer = _accounts[msg.sender];
        // No chain gets there; but if one did, a slot would name a block that has no event.
        assert(block.number <= type(uint40).max);
        uint40 here = uint40(block.number);
        if (writer.headBlock != here) {
            writer.prevBlock = writer.headBlock;
            writer.headBlock = here;
        }
    }

    function _put(Account memory writer, bytes32 salt, uint32 expectedVersion, EventKind kind, bytes calldata record)
        private
        returns (bytes32 fileId, uint32 version)
    {
        _checkRecord(record);
        fileId = _fileId(salt);
        version = _next(fileId, _slots[fileId], expectedVersion);
        _write(writer, fileId, version, kind, record);
    }

    function _leave(Account memory writer, bytes32 salt, uint32 expectedVersion, EventKind kind)
        private
        returns (bytes32 fileId, uint32 version)
    {
        fileId = _fileId(salt);
        uint256 slot = _slots[fileId];
        version = _next(fileId, slot, expectedVersion);
        if (!_isLive(slot)) revert NotFound(fileId);
        _write(writer, fileId, version, kind, msg.data[:0]);
    }

    function _write(Account memory writer, bytes32 fileId, uint32 version, EventKind kind, bytes calldata record)
        private
    {
        writer.seq++;
        _slots[fileId] = uint256(uint160(msg.sender)) << 96 | uint256(version) << 64 | uint256(writer.headBlock) << 24
            | uint256(kind);
        emit FileRecord(fileId, msg.sender, version, kind, writer.seq, writer.prevBlock, record);
    }

    function _fileId(bytes32 salt) private view returns (bytes32) {
        return keccak256(abi.encode(msg.sender, salt));
    }

    function _next(bytes32 fileId, uint256 slot, uint32 expectedVersion) private pure returns (uint32) {
        // The bits above those of the version are the owner's: the cast drops them.
        // forge-lint: disable-next-line(unsafe-typecast)
        uint32 actual = uint32(slot >> 64);
        if (actual != expectedVersion) revert VersionConflict(fileId, expectedVersion, actual);
        if (actual == type(uint32).max) revert Exhausted(fileId);
        return actual + 1;
    }

    /// A slot of 0 has kind 0 too, but no owner.
    function _isLive(uint256 slot) private pure returns (bool) {
        // The kind is the low 8 bits.
        // forge-lint: disable-next-line(unsafe-typecast)
        uint8 kind = uint8(slot);
        return slot != 0 && (kind == uint8(EventKind.Put) || kind == uint8(EventKind.RenamedHere));
    }

    function _checkRecord(bytes calldata record) private pure {
        if (record.length == 0 || record.length > MAX_RECORD_LENGTH) revert RecordLength(record.length);
    }
}
