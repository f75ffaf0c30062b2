// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {FileLedger} from "../src/FileLedger.sol";
import {IFileLedger} from "../src/interfaces/IFileLedger.sol";
import {VM, Vm} from "./Vm.sol";

/// A ledger and two accounts, with names for what is written to it, read from it, and said by its errors.
abstract contract Fixture {
    /// An event as a reader decodes it.
    struct Event {
        bytes32 fileId;
        address owner;
        uint32 version;
        IFileLedger.EventKind kind;
        uint64 seq;
        uint40 prevBlock;
        bytes record;
    }

    bytes32 internal constant TOPIC = keccak256("FileRecord(bytes32,address,uint32,uint8,uint64,uint40,bytes)");
    bytes32 internal constant A = keccak256("a");
    bytes32 internal constant B = keccak256("b");
    uint256 internal constant START = 1000;

    address internal constant OWNER = address(0xA11CE);
    address internal constant OTHER = address(0xB0B);

    FileLedger internal ledger;

    // Reading

    function _id(address owner, bytes32 salt) internal pure returns (bytes32) {
        return keccak256(abi.encode(owner, salt));
    }

    function _slot(address owner, bytes32 salt) internal view returns (uint256) {
        return ledger.get(_id(owner, salt));
    }

    /// A slot as the interface describes it.
    function _word(address owner, uint256 version, uint256 blockNumber, IFileLedger.EventKind kind)
        internal
        pure
        returns (uint256)
    {
        return uint256(uint160(owner)) * 2 ** 96 + version * 2 ** 64 + blockNumber * 2 ** 24 + uint256(kind);
    }

    function _version(uint256 slot) internal pure returns (uint32) {
        return uint32(slot >> 64);
    }

    function _block(uint256 slot) internal pure returns (uint40) {
        return uint40(slot >> 24);
    }

    function _kind(uint256 slot) internal pure returns (IFileLedger.EventKind) {
        return IFileLedger.EventKind(uint8(slot));
    }

    /// The events since `VM.recordLogs` or since the last call of this.
    function _events() internal returns (Event[] memory events) {
        Vm.Log[] memory logs = VM.getRecordedLogs();
        events = new Event[](logs.length);
        for (uint256 i = 0; i < logs.length; i++) {
            require(logs[i].emitter == address(ledger), "an event of another contract");
            require(logs[i].topics.length == 3 && logs[i].topics[0] == TOPIC, "another event");
            Event memory e = events[i];
            e.fileId = logs[i].topics[1];
            e.owner = address(uint160(uint256(logs[i].topics[2])));
            (e.version, e.kind, e.seq, e.prevBlock, e.record) =
                abi.decode(logs[i].data, (uint32, IFileLedger.EventKind, uint64, uint40, bytes));
        }
    }

    // Writing

    function _put(address owner, bytes32 salt, uint32 expected) internal {
        VM.prank(owner);
        ledger.put(salt, expected, _record(8));
    }

    function _remove(address owner, bytes32 salt, uint32 expected) internal {
        VM.prank(owner);
        ledger.remove(salt, expected);
    }

    function _rename(address owner, bytes32 from, uint32 expectedFrom, bytes32 to, uint32 expectedTo) internal {
        VM.prank(owner);
        ledger.rename(from, expectedFrom, to, expectedTo, _record(8));
    }

    /// Whatever the calldata is, and whatever comes of it.
    function _call(bytes memory data) internal returns (bool ok) {
        (ok,) = address(ledger).call(data);
    }

    /// Puts a slot where the ledger has it, to begin at a version that takes too long to reach.
    function _age(address owner, bytes32 salt, uint32 version, IFileLedger.EventKind kind) internal {
        bytes32 key = keccak256(abi.encode(_id(owner, salt), uint256(0)));
        VM.store(address(ledger), key, bytes32(_word(owner, version, block.number, kind)));
    }

    /// So many bytes that look random and are not 0, which are the dearest ones.
    function _record(uint256 length) internal pure returns (bytes memory record) {
        record = new bytes(length);
        bytes32 word;
        for (uint256 i = 0; i < length; i++) {
            if (i % 32 == 0) word = keccak256(abi.encode(i));
            record[i] = word[i % 32] == 0 ? bytes1(0xff) : word[i % 32];
        }
    }

    // Errors

    function _expectConflict(address owner, bytes32 salt, uint32 expected, uint32 actual) internal {
        VM.expectRevert(
            abi.encodeWithSelector(IFileLedger.VersionConflict.selector, _id(owner, salt), expected, actual)
        );
    }

    function _expectNotFound(address owner, bytes32 salt) internal {
        VM.expectRevert(abi.encodeWithSelector(IFileLedger.NotFound.selector, _id(owner, salt)));
    }

    function _expectExhausted(address owner, bytes32 salt) internal {
        VM.expectRevert(abi.encodeWithSelector(IFileLedger.Exhausted.selector, _id(owner, salt)));
    }

    function _expectRecordLength(uint256 length) internal {
        VM.expectRevert(abi.encodeWithSelector(IFileLedger.RecordLength.selector, length));
    }

    // Comparing

    function _same(uint256 found, uint256 wanted, string memory what) internal pure {
        require(found == wanted, what);
    }

    function _same(Event memory found, Event memory wanted) internal pure {
        require(keccak256(abi.encode(found)) == keccak256(abi.encode(wanted)), "the event differs");
    }
}
