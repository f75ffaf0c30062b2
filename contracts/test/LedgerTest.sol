// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {FileLedger} from "../src/FileLedger.sol";
import {Fixture} from "./Fixture.sol";
import {VM} from "./Vm.sol";

/// What every test of the ledger begins with: a fresh one, in block `START`.
abstract contract LedgerTest is Fixture {
    function setUp() public virtual {
        ledger = new FileLedger();
        VM.roll(START);
    }
}
