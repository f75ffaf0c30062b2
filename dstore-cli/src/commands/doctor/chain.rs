//! The ledger on Ethereum: providers answer, chain and contract are those that are meant, and the owner can pay.

use std::time::{Duration, SystemTime};

use dstore::ledger::{Chain, ContractInfo, EthereumAccount, LedgerError};
use dstore::{Error, config};

use crate::context::Context;
use crate::failure::Failure;
use crate::shape::Finding;
use crate::text;

/// Blocks by which a provider may be behind before anybody should look at it.
const LAG: u64 = 16;

/// Asks the chain; changes nothing there.
pub(super) async fn check(context: &Context) -> Vec<Finding> {
    let ready = context.required_contract().and_then(|contract| Ok((contract, context.account()?)));
    let (contract, account) = match ready {
        Ok(ready) => ready,
        Err(failure) => return vec![failed("ledger", failure)],
    };
    let chain = match config::ethereum(&context.config) {
        Ok(config) => config.chain().clone(),
        Err(error) => return vec![failed("ledger", error.into())],
    };
    match account.ledger(contract).contract().await {
        Ok(info) => {
            let mut findings = vec![there(&chain, &info)];
            findings.extend(info.providers.iter().filter_map(|(host, answer)| provider(host, answer, info.head)));
            findings.push(funds(&chain, &account).await);
            findings.push(backup());
            findings
        }
        Err(error) => vec![failed("ledger", Error::from(error).into())],
    }
}

fn failed(check: &'static str, failure: Failure) -> Finding {
    let remedy = match (failure.hints.is_empty(), failure.exit) {
        (false, _) => failure.hints.join("; "),
        (true, 5) => {
            "see whether the provider works, and this machine's way to it; ETH_RPC_URL may name several".to_owned()
        }
        (true, _) => "correct it; dstore-cli config show --origin says where it is set".to_owned(),
    };
    Finding::fail(check, failure.code, failure.message, remedy)
}

fn there(chain: &Chain, info: &ContractInfo) -> Finding {
    let writes = text::count(usize::try_from(info.writes).unwrap_or(usize::MAX), "write");
    let age = text::age(head_age(info));
    let text = format!(
        "contract 0x{} on {} answers, {writes} of this owner; the newest block is {}, {age} old",
        info.contract,
        chain.name(),
        info.head
    );
    Finding::pass("ledger", text)
}

fn provider(host: &str, answer: &Result<u64, String>, head: u64) -> Option<Finding> {
    let what = match answer {
        Ok(its) if its.saturating_add(LAG) >= head => return None,
        Ok(its) => format!("{host} is at block {its}, {} behind", head.saturating_sub(*its)),
        // It names the host itself.
        Err(problem) => problem.clone(),
    };
    Some(Finding::warn("provider", what, "others answer; if it stays like this, take it out of ETH_RPC_URL"))
}

async fn funds(chain: &Chain, account: &EthereumAccount) -> Finding {
    let address = format!("0x{}", account.address());
    let answer: Result<u128, LedgerError> = account.balance().await;
    match answer {
        Ok(0) => {
            let text = format!("{address} has nothing on {}: files can be read, not written", chain.name());
            Finding::warn("account", text, format!("send ETH of that chain to {address}"))
        }
        Ok(wei) => Finding::pass("account", format!("{address} has {} to pay for writes", text::ether(wei))),
        Err(error) => failed("account", Error::from(error).into()),
    }
}

fn backup() -> Finding {
    let text = "keep a copy of the key and of the contract's address elsewhere: with them and a registry, everything \
                can be read from any machine";
    Finding::pass("backup", text)
}

/// How old the newest block is.
pub(in super::super) fn head_age(info: &ContractInfo) -> Duration {
    let made = SystemTime::UNIX_EPOCH + Duration::from_millis(info.head_time.as_millis());
    SystemTime::now().duration_since(made).unwrap_or_default()
}
