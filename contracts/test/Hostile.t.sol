// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {FileLedger} from "../src/FileLedger.sol";
import {IFileLedger} from "../src/interfaces/IFileLedger.sol";
import {LedgerTest} from "./LedgerTest.sol";
import {VM} from "./Vm.sol";

/// Calls that no honest client makes, and what the code cannot do at all.
contract HostileTest is LedgerTest {
    function setUp() public override {
        super.setUp();
        _put(OWNER, A, 0);
        VM.roll(START + 1);
        VM.deal(address(this), 10 ether);
    }

    function _fails(bytes memory data) private returns (bool) {
        return !_call(data);
    }

    function _takesEther(bytes memory data) private returns (bool ok) {
        (ok,) = address(ledger).call{value: 1}(data);
    }

    function test_ether_is_refused_everywhere() public {
        bytes32[] memory salts = new bytes32[](1);
        bytes[] memory records = new bytes[](1);
        records[0] = _record(8);
        bytes[9] memory calls = [
            bytes(""),
            abi.encodeCall(IFileLedger.put, (A, 0, _record(8))),
            abi.encodeCall(IFileLedger.putMany, (salts, new uint32[](1), records)),
            abi.encodeCall(IFileLedger.rename, (A, 1, B, 0, _record(8))),
            abi.encodeCall(IFileLedger.remove, (A, 1)),
            abi.encodeCall(IFileLedger.get, (A)),
            abi.encodeCall(IFileLedger.getMany, (salts)),
            abi.encodeCall(IFileLedger.account, (OWNER)),
            abi.encodePacked(bytes4(0xdeadbeef))
        ];
        for (uint256 i = 0; i < calls.length; i++) {
            require(!_takesEther(calls[i]), "it took ether");
        }
        _same(address(ledger).balance, 0, "balance");
        // Without ether the same call is a good one.
        require(!_fails(calls[1]), "put");
    }

    function test_a_contract_cannot_be_deployed_with_ether() public {
        bytes memory code = type(FileLedger).creationCode;
        address made;
        assembly ("memory-safe") {
            made := create(1, add(code, 32), mload(code))
        }
        require(made == address(0), "it took ether");
        assembly ("memory-safe") {
            made := create(0, add(code, 32), mload(code))
        }
        require(made != address(0), "without ether it is deployed");
    }

    function test_unknown_functions_and_empty_calls_fail() public {
        require(_fails(""), "empty");
        require(_fails(hex"00"), "one byte");
        require(_fails(hex"deadbeef"), "unknown");
    }

    /// No reentrancy, no delegation, no destruction: the instructions are not there. Without metadata and immutables the
    /// runtime code is instructions and their operands alone.
    function test_the_code_calls_nobody_creates_nothing_and_never_ends() public view {
        bytes memory code = address(ledger).code;
        for (uint256 i = 0; i < code.length; i++) {
            uint8 op = uint8(code[i]);
            require(op < 0xf0 || op == 0xf3 || op == 0xfd || op == 0xfe, "an instruction that must not be there");
            if (op >= 0x60 && op <= 0x7f) i += op - 0x5f;
        }
    }

    function test_numbers_with_bits_above_their_type_are_refused() public {
        uint256 dirty = 2 ** 32;
        bytes memory record = _record(8);
        bytes4 put = IFileLedger.put.selector;
        require(_fails(abi.encodeWithSelector(put, A, dirty, record)), "put");
        require(!_fails(abi.encodeWithSelector(put, A, 0, record)), "put, clean");
        require(_fails(abi.encodeWithSelector(IFileLedger.remove.selector, A, dirty + 1)), "remove");
        bytes4 rename = IFileLedger.rename.selector;
        require(_fails(abi.encodeWithSelector(rename, A, dirty + 1, B, 0, record)), "rename, old");
        require(_fails(abi.encodeWithSelector(rename, A, 1, B, dirty, record)), "rename, new");
        require(!_fails(abi.encodeWithSelector(rename, A, 1, B, 0, record)), "rename, clean");
        bytes32[] memory salts = new bytes32[](1);
        uint256[] memory versions = new uint256[](1);
        bytes[] memory records = new bytes[](1);
        records[0] = record;
        versions[0] = dirty;
        require(_fails(abi.encodeWithSelector(IFileLedger.putMany.selector, salts, versions, records)), "putMany");
        versions[0] = 0;
        require(!_fails(abi.encodeWithSelector(IFileLedger.putMany.selector, salts, versions, records)), "clean");
        require(_fails(abi.encodeWithSelector(IFileLedger.account.selector, uint256(1) << 160)), "account");
    }

    function test_records_and_lists_outside_of_the_calldata_are_refused() public {
        bytes4 put = IFileLedger.put.selector;
        // Offset, then length: beyond the end, at the end, near 2^256, longer than what is there.
        require(_fails(abi.encodeWithSelector(put, A, 0, 0x1000, 8, bytes32("x"))), "offset beyond the end");
        require(_fails(abi.encodeWithSelector(put, A, 0, 0xa0)), "offset at the end");
        require(_fails(abi.encodeWithSelector(put, A, 0, type(uint256).max, 8, bytes32("x"))), "offset that wraps");
        require(_fails(abi.encodeWithSelector(put, A, 0, 0x60, 33, bytes32("x"))), "length beyond the end");
        require(_fails(abi.encodeWithSelector(put, A, 0, 0x60, type(uint256).max, bytes32("x"))), "length that wraps");
        require(!_fails(abi.encodeWithSelector(put, A, 0, 0x60, 32, bytes32("x"))), "in order");
        bytes4 getMany = IFileLedger.getMany.selector;
        require(_fails(abi.encodeWithSelector(getMany, 0x20, 2, A)), "list beyond the end");
        require(_fails(abi.encodeWithSelector(getMany, 0x20, 2 ** 251, A)), "list whose size wraps");
        require(!_fails(abi.encodeWithSelector(getMany, 0x20, 1, A)), "list in order");
        bytes4 putMany = IFileLedger.putMany.selector;
        // One salt, one version, one record that begins beyond the end of the calldata.
        require(
            _fails(abi.encodeWithSelector(putMany, 0x60, 0xa0, 0xe0, 1, A, 1, 0, 1, 0x1000)), "record beyond the end"
        );
    }

    /// Two items of a batch may point to the same bytes: each is a record of its own.
    function test_a_record_that_two_items_share_is_two_records() public {
        bytes memory data = abi.encodeWithSelector(
            IFileLedger.putMany.selector,
            0x60,
            0xc0,
            0x120,
            2,
            B,
            keccak256("c"),
            2,
            0,
            0,
            2,
            0x40,
            0x40,
            3,
            bytes32("xyz")
        );
        VM.recordLogs();
        require(!_fails(data), "shared");
        Event[] memory events = _events();
        _same(events.length, 2, "events");
        require(
            keccak256(events[0].record) == keccak256("xyz") && keccak256(events[1].record) == keccak256("xyz"), "record"
        );
    }
}
