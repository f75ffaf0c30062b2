//! From settings to a ledger on a chain. Addresses of providers are secrets: no error shows one.

use super::{Config, Key};
use crate::error::{Error, Result};
use crate::id::ContractId;
use crate::keys::Owner;
use crate::ledger::{Chain, EthereumAccount, EthereumConfig, EthereumLedger, RpcUrl};

/// Digits of a gwei after the point: a wei is the smallest part.
const GWEI_DIGITS: usize = 9;

/// Which chain, through whom, and what a write may cost, as the settings say.
///
/// # Errors
/// [`Error::Config`] for a setting that cannot be understood, and for a chain for which no provider is set.
pub fn ethereum(config: &Config) -> Result<EthereumConfig> {
    let chain = config.parsed(&Key::CHAIN, str::parse::<Chain>)?.unwrap_or(Chain::SEPOLIA);
    let urls = providers(config, &chain)?;
    let mut ethereum = EthereumConfig::new(chain, urls)?;
    if let Some(wei) = config.parsed(&Key::MAX_FEE, parse_gwei)? {
        ethereum = ethereum.max_fee(wei);
    }
    if let Some(blocks) = config.parsed(&Key::CONFIRMATIONS, confirmations)? {
        ethereum = ethereum.confirmations(blocks);
    }
    if let Some(wait) = config.duration(&Key::BATCH_WAIT)? {
        ethereum = ethereum.batch_wait(wait);
    }
    if let Some(folder) = config.locks() {
        ethereum = ethereum.lock_folder(folder);
    }
    Ok(ethereum)
}

/// The addresses that are set; else the one that the key of a provider stands for.
fn providers(config: &Config, chain: &Chain) -> Result<Vec<RpcUrl>> {
    let urls = config.list(&Key::RPC_URL, str::parse::<RpcUrl>)?;
    match config.value(&Key::ALCHEMY_KEY) {
        Some(key) if urls.is_empty() => Ok(RpcUrl::alchemy(chain, key.text())?.into_iter().collect()),
        _ => Ok(urls),
    }
}

/// The contract that the settings name.
///
/// # Errors
/// [`Error::Config`] when it is no address.
pub fn contract(config: &Config) -> Result<Option<ContractId>> {
    config.parsed(&Key::CONTRACT, parse_contract)
}

/// The ledger that the settings name.
///
/// # Errors
/// Those of [`ethereum`] and [`contract`]; [`Error::Config`] when no contract is set.
pub(super) fn ledger(config: &Config, owner: &Owner) -> Result<EthereumLedger> {
    let (ethereum, contract) = (ethereum(config)?, contract(config)?);
    let contract = contract.ok_or_else(|| {
        let (flag, variable) = (Key::CONTRACT.flag(), Key::CONTRACT.variable);
        Error::config(format!("no contract is set for the ledger on Ethereum, neither with {flag} nor as {variable}"))
    })?;
    Ok(EthereumAccount::new(ethereum, owner).ledger(contract))
}

/// The address of a contract: `0x` and 40 hex digits. In digits of mixed case, the case is a checksum (EIP-55), and is
/// checked.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse_contract(text: &str) -> Result<ContractId, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let lower = digits.to_ascii_lowercase();
    let contract: ContractId =
        lower.parse().map_err(|_| format!("{text:?} is not the address of a contract: 0x and 40 hex digits"))?;
    if digits != lower && digits != digits.to_ascii_uppercase() && digits != checksummed(&lower) {
        return Err(format!("{text:?} has a mistake: its upper and lower case letters do not fit its digits (EIP-55)"));
    }
    Ok(contract)
}

/// Lower-case hex digits of an address in the case that EIP-55 gives them.
fn checksummed(lower: &str) -> String {
    use sha3::{Digest, Keccak256};
    let hash = hex::encode(Keccak256::digest(lower.as_bytes()));
    let cased = |(digit, hash): (char, u8)| if hash >= b'8' { digit.to_ascii_uppercase() } else { digit };
    lower.chars().zip(hash.bytes()).map(cased).collect()
}

/// A number of gwei, such as `30` or `2.5`, as wei.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse_gwei(text: &str) -> Result<u128, String> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let wei = match is_number(whole) && is_number(part) && part.len() <= GWEI_DIGITS {
        true => format!("{whole}{part:0<GWEI_DIGITS$}").parse().ok().filter(|wei| *wei > 0),
        false => None,
    };
    wei.ok_or_else(|| format!("{text:?} is not a price of gas in gwei: write it like 30 or 2.5"))
}

fn confirmations(text: &str) -> Result<u64, String> {
    let blocks = text.parse().ok().filter(|blocks| *blocks > 0);
    blocks.ok_or_else(|| format!("{text:?} is not a number of blocks from 1 on"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(variables: &[(&str, &str)]) -> Config {
        Config::new().env(variables.iter().copied().collect())
    }

    fn hosts(variables: &[(&str, &str)]) -> Vec<String> {
        let config = ethereum(&env(variables)).expect("a config");
        config.hosts().map(ToOwned::to_owned).collect()
    }

    #[test]
    fn the_key_of_a_provider_is_enough_and_addresses_win_over_it() {
        let key = ("ALCHEMY_API_KEY", "hunter2");
        assert_eq!(hosts(&[key]), ["eth-sepolia.g.alchemy.com"]);
        let urls = ("ETH_RPC_URL", "https://a.example/v1/hunter3, http://b.example:8545");
        assert_eq!(hosts(&[key, urls]), ["a.example", "b.example:8545"]);
        assert_eq!(hosts(&[key, ("DSTORE_CHAIN", "local")]), ["127.0.0.1:8545"]);
        let error = ethereum(&Config::new()).expect_err("no provider").to_string();
        assert!(error.contains("ETH_RPC_URL") && error.contains("ALCHEMY_API_KEY"), "{error}");
    }

    #[test]
    fn what_is_wrong_with_an_address_is_told_without_showing_it() {
        for (variable, value) in [("ETH_RPC_URL", "hunter2.example/key"), ("ALCHEMY_API_KEY", "hunter2/../x")] {
            let config = env(&[(variable, value)]);
            let error = ethereum(&config).expect_err("refused");
            assert!(error.to_string().contains(variable), "{error}");
            assert!(!format!("{error} {error:?} {config:?}").contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_contract_is_an_address_whose_case_is_checked_where_it_says_something() {
        let mixed = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
        let expected = parse_contract(mixed).expect("from EIP-55 itself");
        assert_eq!(format!("0x{expected}"), mixed.to_lowercase());
        for fine in [mixed.to_lowercase(), format!("0x{}", mixed[2..].to_uppercase()), mixed[2..].to_owned()] {
            assert_eq!(parse_contract(&fine), Ok(expected));
        }
        let flipped = mixed.replace("aAe", "AAe");
        assert!(parse_contract(&flipped).expect_err("a typing error").contains("EIP-55"));
        for bad in ["", "0x", "0x12", &mixed[..41], &format!("{mixed}00"), &mixed.replace('5', "g")] {
            assert!(parse_contract(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn prices_of_gas_are_gwei_with_decimals() {
        assert_eq!(parse_gwei("30"), Ok(30_000_000_000));
        assert_eq!(parse_gwei("2.5"), Ok(2_500_000_000));
        assert_eq!(parse_gwei("0.000000001"), Ok(1));
        let too_much = "9".repeat(40);
        for bad in ["", ".", "1.", ".5", "0", "-1", "1e9", "1.0000000001", "1,5", &too_much] {
            assert!(parse_gwei(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_ledger_without_a_contract_says_what_to_set() {
        let owner = Owner::parse(&"11".repeat(32)).expect("valid");
        let error = ledger(&env(&[("DSTORE_CHAIN", "local")]), &owner).expect_err("no contract").to_string();
        assert!(error.contains("--contract") && error.contains("DSTORE_CONTRACT"), "{error}");
    }
}
