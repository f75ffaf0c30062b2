//! Postcard with one encoding for each value (docs/wire.md section 5).
//!
//! Invariant: what decodes, encodes to the same bytes; no more is allocated than 4 KiB and 192 times the input (the fuzz
//! targets measure it; lists of nodes need most).

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes that are no message of the kind expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub struct Malformed(pub &'static str);

/// Encodes a message.
///
/// # Panics
/// Never for the messages of this crate: none holds a type that postcard refuses.
#[must_use]
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    postcard::to_allocvec(message).expect("messages hold only types that postcard knows")
}

/// Decodes a message called `what` in errors.
///
/// # Errors
/// [`Malformed`] unless `bytes` are the one encoding of a value, with nothing after it.
pub fn decode<T: DeserializeOwned + Serialize>(what: &'static str, bytes: &[u8]) -> Result<T, Malformed> {
    let (message, rest) = postcard::take_from_bytes::<T>(bytes).map_err(|_| Malformed(what))?;
    // Postcard accepts numbers that are longer than need be; signed bytes must have one form only.
    if !rest.is_empty() || encode(&message) != bytes {
        return Err(Malformed(what));
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_forms_of_a_number_and_trailing_bytes_are_refused() {
        assert_eq!(decode::<u32>("number", &[1]), Ok(1));
        assert_eq!(decode::<u32>("number", &[0x81, 0]), Err(Malformed("number")));
        assert_eq!(decode::<u32>("number", &[1, 0]), Err(Malformed("number")));
        assert_eq!(decode::<u32>("number", &[]), Err(Malformed("number")));
    }

    #[test]
    fn a_length_that_lies_allocates_nothing_and_is_refused() {
        let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(decode::<Vec<[u8; 32]>>("list", &huge), Err(Malformed("list")));
        assert_eq!(decode::<String>("text", &huge), Err(Malformed("text")));
    }
}
