//! An invite as text that can be pasted (docs/wire.md section 6.8).

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;

use super::codec::{decode, encode};
use super::signed::{InviteTerms, Signed};
use crate::error::Error;

const PREFIX: &str = "dsi1:";
/// No invite is longer.
const MAX_TEXT: usize = 256;

/// Lets the first key that presents it to its node store shards there: `dsi1:<base32>`. Who has it can use it.
pub type Invite = Signed<InviteTerms>;

impl fmt::Display for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", BASE32_NOPAD.encode(&encode(self)).to_ascii_lowercase())
    }
}

impl FromStr for Invite {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parse = || {
            let letters = text.strip_prefix(PREFIX).filter(|letters| letters.len() <= MAX_TEXT)?;
            let lower_case = letters.bytes().all(|byte| !byte.is_ascii_uppercase());
            let bytes = BASE32_NOPAD.decode(letters.to_ascii_uppercase().as_bytes()).ok().filter(|_| lower_case)?;
            decode("invite", &bytes).ok()
        };
        parse().ok_or_else(|| {
            Error::config(format!(
                "this is not an invite, or not the whole of it: it looks like {PREFIX}<letters and digits>, and \
                 `dstore-cli node invite` prints it"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{NetworkId, NodeId};
    use crate::rt::Timestamp;
    use crate::signature::SecretKey;

    #[test]
    fn an_invite_reads_back_from_its_text_and_holds_in_its_network_alone() {
        let key = SecretKey::new(&[1; 32]).expect("valid");
        let terms =
            InviteTerms { node: NodeId::new(key.address()), id: [7; 16], not_after: Timestamp::from_millis(1 << 40) };
        let network = NetworkId::new([2; 32]);
        let text = Signed::new(&terms, &key, network, &[]).to_string();
        let invite: Invite = text.parse().expect("parses");
        assert_eq!((invite.to_string(), invite.terms(network)), (text.clone(), Some(terms)));
        assert_eq!(invite.terms(NetworkId::new([3; 32])), None);
        for bad in ["", "dsi1:", &text[..text.len() - 1], &text.to_uppercase(), &format!("{text}a"), &text[1..]] {
            assert!(bad.parse::<Invite>().is_err(), "{bad}");
        }
    }
}
