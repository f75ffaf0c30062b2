// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {FileLedger} from "../src/FileLedger.sol";

interface Broadcast {
    function startBroadcast() external;
}

/// Deploys the ledger from the account that forge is given. `dstore-cli contract deploy` does the same without forge.
contract Deploy {
    function run() external returns (FileLedger ledger) {
        Broadcast(address(uint160(uint256(keccak256("hevm cheat code"))))).startBroadcast();
        ledger = new FileLedger();
    }
}
