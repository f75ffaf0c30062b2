//! How a registry is named so that nobody can stand in for it (docs/wire.md section 8).

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;

use crate::error::Error;
use crate::id::{NodeId, NoiseKey};
use crate::proto::is_endpoint;

const PREFIX: &str = "dsr1:";

/// A registry's keys and where it listens: `dsr1:<base32 of noise key and id>@host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RegistryAddr {
    /// Its identity.
    pub id: NodeId,
    /// Its transport key.
    pub noise_key: NoiseKey,
    /// `host:port`.
    pub endpoint: String,
}

impl fmt::Display for RegistryAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = [&self.noise_key.as_bytes()[..], self.id.as_bytes()].concat();
        write!(f, "{PREFIX}{}@{}", BASE32_NOPAD.encode(&keys).to_ascii_lowercase(), self.endpoint)
    }
}

impl FromStr for RegistryAddr {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text).ok_or_else(|| {
            Error::config(format!(
                "{text:?} is not a registry address: it looks like {PREFIX}<84 letters and digits>@host:port, \
                 and `registry run` prints it"
            ))
        })
    }
}

fn parse(text: &str) -> Option<RegistryAddr> {
    let (keys, endpoint) = text.strip_prefix(PREFIX)?.split_once('@')?;
    let lower_case = keys.bytes().all(|b| !b.is_ascii_uppercase());
    let keys = BASE32_NOPAD.decode(keys.to_ascii_uppercase().as_bytes()).ok().filter(|_| lower_case)?;
    let (noise_key, id) = keys.split_first_chunk::<32>()?;
    is_endpoint(endpoint).then_some(RegistryAddr {
        id: NodeId::new(id.try_into().ok()?),
        noise_key: NoiseKey::new(*noise_key),
        endpoint: endpoint.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_from_its_text() {
        let address = RegistryAddr {
            id: NodeId::new([0xab; 20]),
            noise_key: NoiseKey::new([0xcd; 32]),
            endpoint: "registry.example:4100".into(),
        };
        let text = address.to_string();
        assert_eq!(text.parse::<RegistryAddr>().expect("parses"), address);
        assert_eq!(text.split('@').next().map(str::len), Some(PREFIX.len() + 84));
    }

    #[test]
    fn misspelt_addresses_are_refused() {
        let good = RegistryAddr { id: NodeId::new([1; 20]), noise_key: NoiseKey::new([2; 32]), endpoint: "h:1".into() };
        let good = good.to_string();
        for bad in [
            "",
            "dsr1:",
            "dsr1:@h:1",
            &good[1..],
            &good.replace("h:1", "h"),
            &good.to_uppercase(),
            &good.replacen("a", "", 1),
        ] {
            assert!(bad.parse::<RegistryAddr>().is_err(), "{bad}");
        }
    }
}
