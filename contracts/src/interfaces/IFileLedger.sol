// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

/// @title The ledger of dstore on a chain
/// @notice Says for each file of an owner which version is current, and carries the sealed record of each version.
///
/// A file has a slot, one word in storage, and one event for each version. The record is in the event alone: the slot
/// names the block, and the event is in that block's log. Everything here is public for ever; what a record says is
/// known to those who have the owner's key.
///
/// A slot, from the most significant bits:
///
/// | bits | field   | meaning                                                     |
/// |-----:|---------|-------------------------------------------------------------|
/// |  160 | owner   | the account that wrote the file                             |
/// |   32 | version | 1, 2, 3, ...                                                |
/// |   40 | block   | number of the block that has the event of this version      |
/// |   24 | flags   | the low 8 bits are the `EventKind` of that event, others 0  |
///
/// The slot of a file that never existed is 0. A file is live when its last event is `Put` or `RenamedHere`.
///
/// What always holds:
/// 1. A file's id is the hash of its owner and a salt, and writes take salts: only the owner changes a file.
/// 2. The version of a file goes up by one with each event and never repeats, also across removals.
/// 3. Each version has exactly one event, in the block that the slot named while the version was current.
/// 4. A write that expects another version than the slot's changes nothing.
/// 5. The `seq` of an owner's events are 1, 2, 3, ... without a gap, and `account` has the last one.
/// 6. Whoever takes all events of an owner in the block `account` names, goes on at their `prevBlock`, and so on until it
///    is 0, has seen every event of that owner.
/// 7. A file that was removed or renamed away has no record until it is written again.
///
/// A write is whole or not at all. No function takes ether or calls another contract, and nobody has special rights.
interface IFileLedger {
    /// @notice What an event did to its file.
    enum EventKind {
        /// A record for this version was put.
        Put,
        /// The file came from another path, with a record for its new place.
        RenamedHere,
        /// The file was removed; there is no record.
        Removed,
        /// The file went to another path; there is no record here. The event with the next `seq` is its arrival.
        RenamedAway
    }

    /// @notice One version of one file.
    /// @param fileId The file.
    /// @param owner The account that wrote it.
    /// @param version The version of the file that this event made.
    /// @param kind What was done.
    /// @param seq Position among all events of the owner, from 1.
    /// @param prevBlock Block of the owner's latest event in an earlier block, 0 if there is none. All events of an
    /// owner in one block have the same.
    /// @param record The sealed record: 1 to 4096 bytes for `Put` and `RenamedHere`, empty for the other kinds.
    event FileRecord(
        bytes32 indexed fileId,
        address indexed owner,
        uint32 version,
        EventKind kind,
        uint64 seq,
        uint40 prevBlock,
        bytes record
    );

    /// @notice The file has another version than the writer expected: somebody with the same key wrote in between.
    /// @param fileId The file.
    /// @param expected What the writer named.
    /// @param actual What the slot has; 0 for a file that never existed.
    error VersionConflict(bytes32 fileId, uint32 expected, uint32 actual);

    /// @notice The file is not live, so it can be neither removed nor renamed.
    /// @param fileId The file.
    error NotFound(bytes32 fileId);

    /// @notice A record has 1 to 4096 bytes.
    /// @param length What this one has.
    error RecordLength(uint256 length);

    /// @notice Both salts of a rename are the same.
    error SamePath();

    /// @notice The file has version 2^32 - 1 and takes no more writes.
    /// @param fileId The file.
    error Exhausted(bytes32 fileId);

    /// @notice A batch is empty, or its lists differ in length.
    error BatchLength();

    /// @notice Writes the next version of a file of the caller, or creates it.
    ///
    /// Reverts, in this order: `RecordLength`, `VersionConflict`, `Exhausted`.
    /// @param salt Names the file among those of the caller.
    /// @param expectedVersion The slot's version, whether the file is live or not: 0 creates a file that never existed.
    /// @param record The sealed record, 1 to 4096 bytes. It is not looked into.
    /// @return fileId keccak256(abi.encode(caller, salt)).
    /// @return version expectedVersion + 1.
    function put(bytes32 salt, uint32 expectedVersion, bytes calldata record)
        external
        returns (bytes32 fileId, uint32 version);

    /// @notice Does what `put` does for each item, one after the other: a salt may come twice, expecting what the first
    /// made. All are written, or none. The block's gas is the only limit of a batch.
    ///
    /// Reverts with `BatchLength`, else as `put` with the first item that fails.
    /// @param salts Names the files.
    /// @param expectedVersions One for each salt.
    /// @param records One for each salt.
    function putMany(bytes32[] calldata salts, uint32[] calldata expectedVersions, bytes[] calldata records) external;

    /// @notice Moves a live file of the caller to another salt, where a file may be that is then replaced.
    ///
    /// Emits the departure (`RenamedAway`), then the arrival (`RenamedHere`), which has the record.
    /// Reverts, in this order: `RecordLength`, `SamePath`; for the old salt `VersionConflict`, `Exhausted`, `NotFound`; for
    /// the new salt `VersionConflict`, `Exhausted`.
    /// @param oldSalt Where the file is.
    /// @param expectedOld The version there.
    /// @param newSalt Where the file goes.
    /// @param expectedNew The version there, whether a file is live there or not.
    /// @param record The record, sealed for the new place, 1 to 4096 bytes.
    /// @return fileId That of the new salt.
    /// @return version expectedNew + 1.
    function rename(bytes32 oldSalt, uint32 expectedOld, bytes32 newSalt, uint32 expectedNew, bytes calldata record)
        external
        returns (bytes32 fileId, uint32 version);

    /// @notice Removes a live file of the caller. Its version goes up as with a put, and it can be put again.
    ///
    /// Reverts, in this order: `VersionConflict`, `Exhausted`, `NotFound`.
    /// @param salt Names the file.
    /// @param expectedVersion The slot's version.
    /// @return fileId That of the salt.
    /// @return version expectedVersion + 1.
    function remove(bytes32 salt, uint32 expectedVersion) external returns (bytes32 fileId, uint32 version);

    /// @notice The slot of a file.
    /// @param fileId The file.
    /// @return slot As above; 0 for a file that never existed.
    function get(bytes32 fileId) external view returns (uint256 slot);

    /// @notice The slots of many files, of one and the same block.
    /// @param fileIds The files, any number, also the same more than once.
    /// @return slots In the order of the ids.
    function getMany(bytes32[] calldata fileIds) external view returns (uint256[] memory slots);

    /// @notice Where to begin to read an owner's events.
    /// @param owner The account.
    /// @return headBlock The block of its last event, 0 if there is none.
    /// @return seq The `seq` of its last event, which is how many there are.
    function account(address owner) external view returns (uint40 headBlock, uint64 seq);
}
