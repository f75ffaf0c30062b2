//! Why nodes do not take a transaction: each program says it in words of its own.
//!
//! Invariant: what is not understood is no refusal, so that a transaction which may be on its way is never given up.

/// Why a provider does not take a transaction. Of what it says otherwise, such as that it is busy, it may still take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It has it already.
    Known,
    Nonce,
    Funds,
    /// It cannot be in any block as it is.
    Other,
}

impl Refusal {
    /// Every program says it in words of its own.
    pub(super) fn of(message: &str) -> Option<Self> {
        let plain: String = message.chars().filter(char::is_ascii_alphanumeric).collect();
        let plain = plain.to_ascii_lowercase();
        let says = |texts: &[&str]| texts.iter().any(|text| plain.contains(text));
        let known = ["alreadyknown", "alreadyimported", "existingtxwithsamehash", "alreadyexists"];
        let nonce = ["nonce", "replacementtransaction", "replaceexisting", "replacementnotallowed"];
        let other = [
            "intrinsicgas",
            "exceedsblockgaslimit",
            "gaslimitexceeded",
            "exceedstheconfiguredcap",
            "oversized",
            "blockbasefee",
            "transactionunderpriced",
            "feetoolow",
            "invalidchainid",
            "invalidsender",
            "typenotsupported",
        ];
        match () {
            () if says(&known) || plain.starts_with("knowntransaction") => Some(Self::Known),
            () if says(&["insufficientfunds"]) => Some(Self::Funds),
            () if says(&nonce) => Some(Self::Nonce),
            () if says(&other) => Some(Self::Other),
            () => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_say_of_a_transaction_is_understood() {
        for (said, meant) in [
            ("already known", Some(Refusal::Known)),
            ("Transaction with the same hash was already imported.", Some(Refusal::Known)),
            ("INTERNAL_ERROR: existing tx with same hash", Some(Refusal::Known)),
            ("AlreadyKnown", Some(Refusal::Known)),
            ("known transaction: 0x12", Some(Refusal::Known)),
            ("unknown transaction type", None),
            ("nonce too low: next nonce 5, tx nonce 4", Some(Refusal::Nonce)),
            ("OldNonce", Some(Refusal::Nonce)),
            ("replacement transaction underpriced", Some(Refusal::Nonce)),
            ("INTERNAL_ERROR: could not replace existing tx", Some(Refusal::Nonce)),
            ("ReplacementNotAllowed", Some(Refusal::Nonce)),
            ("insufficient funds for gas * price + value: balance 0", Some(Refusal::Funds)),
            ("InsufficientFunds, Account balance: 0", Some(Refusal::Funds)),
            ("max fee per gas less than block base fee: maxFeePerGas: 1", Some(Refusal::Other)),
            ("transaction underpriced: gas tip cap 1", Some(Refusal::Other)),
            ("intrinsic gas too low", Some(Refusal::Other)),
            ("internal error", None),
            ("request timed out", None),
            ("rate limit exceeded", None),
        ] {
            assert_eq!(Refusal::of(said), meant, "{said}");
        }
    }
}
