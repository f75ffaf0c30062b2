// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {LedgerTest} from "./LedgerTest.sol";
import {VM} from "./Vm.sol";

/// What a whole transaction costs. Isolated, each call is one: its calldata is paid for, and nothing was accessed before.
/// The exact figures are in snapshots/gas.json, and a change of one fails the checks; these are the limits.
/// forge-config: default.isolate = true
contract GasTest is LedgerTest {
    /// A usual record, of a file on three nodes.
    uint256 private constant RECORD = 640;
    /// One of a file on six.
    uint256 private constant WIDE_RECORD = 930;
    bytes32 private constant C = keccak256("c");

    /// An owner whose first files are in an earlier block.
    function setUp() public override {
        super.setUp();
        _put(OWNER, A, 0);
        _put(OWNER, B, 0);
        VM.roll(START + 1);
    }

    function test_gas_of_the_first_put_of_an_owner() public {
        VM.prank(OTHER);
        ledger.put(C, 0, _record(RECORD));
        _paid("first put of an owner", 1, 90_000);
    }

    function test_gas_of_a_further_put() public {
        VM.prank(OWNER);
        ledger.put(C, 0, _record(RECORD));
        _paid("put of a new file", 1, 72_000);
    }

    function test_gas_of_a_further_put_for_six_nodes() public {
        VM.prank(OWNER);
        ledger.put(C, 0, _record(WIDE_RECORD));
        _paid("put of a new file on six nodes", 1, 82_000);
    }

    function test_gas_of_an_update() public {
        VM.prank(OWNER);
        ledger.put(A, 1, _record(RECORD));
        _paid("update", 1, 56_000);
    }

    function test_gas_of_an_update_for_six_nodes() public {
        VM.prank(OWNER);
        ledger.put(A, 1, _record(WIDE_RECORD));
        _paid("update on six nodes", 1, 66_000);
    }

    function test_gas_of_the_longest_record() public {
        VM.prank(OWNER);
        ledger.put(A, 1, _record(4096));
        _paid("update with 4096 bytes", 1, 190_000);
    }

    function test_gas_of_a_rename_to_a_new_path() public {
        VM.prank(OWNER);
        ledger.rename(A, 1, C, 0, _record(RECORD));
        _paid("rename to a new path", 1, 110_000);
    }

    function test_gas_of_a_rename_to_a_path_that_had_a_file() public {
        VM.prank(OWNER);
        ledger.rename(A, 1, B, 1, _record(RECORD));
        _paid("rename to a path that had a file", 1, 110_000);
    }

    function test_gas_of_a_removal() public {
        VM.prank(OWNER);
        ledger.remove(A, 1);
        _paid("remove", 1, 38_000);
    }

    function test_gas_of_100_new_files_in_one_transaction() public {
        bytes32[] memory salts = new bytes32[](100);
        bytes[] memory records = new bytes[](100);
        for (uint256 i = 0; i < 100; i++) {
            salts[i] = keccak256(abi.encode("file", i));
            records[i] = _record(RECORD);
        }
        VM.prank(OWNER);
        ledger.putMany(salts, new uint32[](100), records);
        _paid("one of 100 new files", 100, 48_000);
    }

    function _paid(string memory what, uint256 files, uint256 limit) private {
        uint256 gas = VM.lastCallGas().gasTotalUsed / files;
        VM.snapshotValue("gas", what, gas);
        require(gas <= limit, string.concat(what, " costs more than it may"));
    }
}
