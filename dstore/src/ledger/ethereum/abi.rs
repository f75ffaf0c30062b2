//! The contract's own interface: calls, answers, events and errors, as its ABI says (contracts/FileLedger.json).

use std::sync::LazyLock;

use ethers_core::abi::{Abi, Function, ParamType, RawLog, Token};
use ethers_core::types::{Address, Bytes, H256, U256};
use ethers_core::utils::keccak256;
use serde::Deserialize;

use crate::id::{FileId, OwnerId, PathSalt};
use crate::ledger::{EventKind, MAX_RECORD_LEN};

/// What is deployed, and how it is spoken to.
pub(super) struct Artifact {
    pub(super) abi: Abi,
    pub(super) creation: Vec<u8>,
    pub(super) code_hash: [u8; 32],
}

#[derive(Deserialize)]
struct Stored {
    abi: Abi,
    bytecode: Bytes,
    runtime: Bytes,
}

pub(super) static ARTIFACT: LazyLock<Artifact> = LazyLock::new(|| {
    let text = include_str!("../../../../contracts/FileLedger.json");
    let Stored { abi, bytecode, runtime } =
        serde_json::from_str(text).expect("the artifact is part of this program, and a test reads it");
    Artifact { abi, creation: bytecode.to_vec(), code_hash: keccak256(&runtime) }
});

impl Artifact {
    fn call(&self, name: &str, tokens: &[Token]) -> Bytes {
        let encoded = self.function(name).encode_input(tokens);
        encoded.expect("the tokens are of the types that the interface names, which tests call").into()
    }

    fn function(&self, name: &str) -> &Function {
        self.abi.function(name).expect("the interface has the functions that this file names, which tests call")
    }
}

fn word(bytes: [u8; 32]) -> Token {
    Token::FixedBytes(bytes.to_vec())
}

fn number(number: u32) -> Token {
    Token::Uint(number.into())
}

pub(super) fn address(owner: OwnerId) -> Address {
    Address::from(*owner.as_bytes())
}

pub(super) fn put(salt: PathSalt, expected: u32, record: &[u8]) -> Bytes {
    ARTIFACT.call("put", &[word(*salt.as_bytes()), number(expected), Token::Bytes(record.to_vec())])
}

pub(super) fn put_many(puts: &[(PathSalt, u32, &[u8])]) -> Bytes {
    let salts = puts.iter().map(|(salt, ..)| word(*salt.as_bytes())).collect();
    let expected = puts.iter().map(|(_, expected, _)| number(*expected)).collect();
    let records = puts.iter().map(|(.., record)| Token::Bytes(record.to_vec())).collect();
    ARTIFACT.call("putMany", &[Token::Array(salts), Token::Array(expected), Token::Array(records)])
}

pub(super) fn rename(from: (PathSalt, u32), to: (PathSalt, u32), record: &[u8]) -> Bytes {
    let tokens = [word(*from.0.as_bytes()), number(from.1), word(*to.0.as_bytes()), number(to.1)];
    ARTIFACT.call("rename", &[&tokens[..], &[Token::Bytes(record.to_vec())]].concat())
}

pub(super) fn remove(salt: PathSalt, expected: u32) -> Bytes {
    ARTIFACT.call("remove", &[word(*salt.as_bytes()), number(expected)])
}

pub(super) fn get_many(files: &[FileId]) -> Bytes {
    ARTIFACT.call("getMany", &[Token::Array(files.iter().map(|file| word(*file.as_bytes())).collect())])
}

pub(super) fn account(owner: OwnerId) -> Bytes {
    ARTIFACT.call("account", &[Token::Address(address(owner))])
}

/// What the contract keeps of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) owner: OwnerId,
    /// 0 for a file that never existed.
    pub(super) version: u32,
    /// The block of the version's event.
    pub(super) block: u64,
    pub(super) kind: EventKind,
}

impl Slot {
    /// `owner (20) | version (4) | block (5) | flags (3)`, of which the last byte is the kind.
    fn of(word: U256) -> Option<Self> {
        let mut bytes = [0; 32];
        word.to_big_endian(&mut bytes);
        let mut owner = [0; 20];
        owner.copy_from_slice(&bytes[..20]);
        let version = u32::from_be_bytes([bytes[20], bytes[21], bytes[22], bytes[23]]);
        let block = bytes[24..29].iter().fold(0, |block, byte| block << 8 | u64::from(*byte));
        Some(Self { owner: OwnerId::new(owner), version, block, kind: kind(bytes[31].into())? })
    }

    pub(super) fn is_live(&self) -> bool {
        self.version > 0 && self.kind.is_live()
    }
}

fn kind(number: u64) -> Option<EventKind> {
    let kinds = [EventKind::Put, EventKind::RenamedHere, EventKind::Removed, EventKind::RenamedAway];
    kinds.into_iter().find(|kind| *kind as u64 == number)
}

/// The slots in an answer to [`get_many`], of so many files.
pub(super) fn slots(answer: &[u8], count: usize) -> Option<Vec<Slot>> {
    let tokens = ARTIFACT.function("getMany").decode_output(answer).ok()?;
    let [Token::Array(words)] = &tokens[..] else { return None };
    let slots: Option<Vec<Slot>> = words.iter().map(|word| Slot::of(word.clone().into_uint()?)).collect();
    slots.filter(|slots| slots.len() == count)
}

/// The block of an owner's newest events, and how many there were.
pub(super) fn account_of(answer: &[u8]) -> Option<(u64, u64)> {
    let tokens = ARTIFACT.function("account").decode_output(answer).ok()?;
    let [Token::Uint(block), Token::Uint(seq)] = tokens[..] else { return None };
    Some((u64::try_from(block).ok()?, u64::try_from(seq).ok()?))
}

/// One event, with what the chain says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) file: FileId,
    pub(super) owner: OwnerId,
    pub(super) version: u32,
    pub(super) kind: EventKind,
    pub(super) seq: u64,
    /// The block of the owner's previous events; 0 for the first.
    pub(super) previous: u64,
    pub(super) record: Vec<u8>,
    pub(super) block: u64,
    /// Milliseconds since 1970; a provider need not tell.
    pub(super) time: Option<u64>,
}

impl Event {
    /// Whether they say the same: not all providers tell the time.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Self { time: None, ..self.clone() } == Self { time: None, ..other.clone() }
    }
}

/// The topic of all events.
pub(super) fn topic() -> H256 {
    ARTIFACT.abi.event("FileRecord").expect("the interface has this event, which a test reads").signature()
}

/// The event in a log; `None` for what no contract of ours can have written.
pub(super) fn event(topics: Vec<H256>, data: Vec<u8>, block: u64, time: Option<u64>) -> Option<Event> {
    let described = ARTIFACT.abi.event("FileRecord").ok()?;
    let parsed = described.parse_log(RawLog { topics, data }).ok()?;
    let value = |name: &str| parsed.params.iter().find(|param| param.name == name).map(|param| param.value.clone());
    let small = |name: &str| u64::try_from(value(name)?.into_uint()?).ok();
    let file: [u8; 32] = value("fileId")?.into_fixed_bytes()?.try_into().ok()?;
    let record = value("record")?.into_bytes()?;
    let kind = kind(small("kind")?)?;
    // Each live version has a record, and no other has one.
    let fits = kind.is_live() != record.is_empty() && record.len() <= MAX_RECORD_LEN;
    let version = u32::try_from(small("version")?).ok().filter(|version| *version > 0 && fits)?;
    Some(Event {
        file: FileId::new(file),
        owner: OwnerId::new(value("owner")?.into_address()?.0),
        version,
        kind,
        seq: small("seq")?,
        previous: small("prevBlock")?,
        record,
        block,
        time,
    })
}

/// Why the contract refused a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Revert {
    VersionConflict {
        file: FileId,
        expected: u32,
        actual: u32,
    },
    NotFound,
    Exhausted,
    /// What the checks before every call rule out, or another contract's error.
    Other,
}

/// What the data of a refused call says.
pub(super) fn revert(data: &[u8]) -> Revert {
    let Some((selector, arguments)) = data.split_at_checked(4) else { return Revert::Other };
    let is = |name: &str| {
        ARTIFACT
            .abi
            .errors
            .get(name)
            .and_then(|errors| errors.first())
            .is_some_and(|error| error.signature().as_bytes()[..4] == *selector)
    };
    if is("NotFound") {
        return Revert::NotFound;
    }
    if is("Exhausted") {
        return Revert::Exhausted;
    }
    let types = [ParamType::FixedBytes(32), ParamType::Uint(32), ParamType::Uint(32)];
    match ethers_core::abi::decode(&types, arguments).ok().filter(|_| is("VersionConflict")).as_deref() {
        Some([Token::FixedBytes(file), Token::Uint(expected), Token::Uint(actual)]) => {
            let file = <[u8; 32]>::try_from(&file[..]).map(FileId::new);
            match (file, u32::try_from(*expected), u32::try_from(*actual)) {
                (Ok(file), Ok(expected), Ok(actual)) => Revert::VersionConflict { file, expected, actual },
                _ => Revert::Other,
            }
        }
        _ => Revert::Other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_interface_has_what_is_called() {
        let salt = PathSalt::new([1; 32]);
        let calls = [
            put(salt, 1, &[2; 40]),
            put_many(&[(salt, 0, &[1]), (salt, 1, &[2, 3])]),
            rename((salt, 1), (PathSalt::new([2; 32]), 0), &[7]),
            remove(salt, 3),
            get_many(&[FileId::new([3; 32])]),
            account(OwnerId::new([4; 20])),
        ];
        for (at, call) in calls.iter().enumerate() {
            assert!(call.len() > 4 && calls[..at].iter().all(|other| other[..4] != call[..4]), "{at}");
        }
        // The selector that Solidity's documentation computes: keccak256 of the signature.
        assert_eq!(calls[0][..4], keccak256("put(bytes32,uint32,bytes)")[..4]);
        assert_eq!(topic().0, keccak256("FileRecord(bytes32,address,uint32,uint8,uint64,uint40,bytes)"));
        assert!(ARTIFACT.creation.len() > 100);
    }

    #[test]
    fn a_slot_is_read_as_the_contract_packs_it() {
        let mut word = [0; 32];
        word[..20].fill(7);
        word[20..24].copy_from_slice(&5_u32.to_be_bytes());
        word[24..29].copy_from_slice(&[0, 0, 1, 2, 3]);
        word[31] = 3;
        let slot = Slot::of(U256::from_big_endian(&word)).expect("a slot");
        let expected =
            Slot { owner: OwnerId::new([7; 20]), version: 5, block: 0x01_0203, kind: EventKind::RenamedAway };
        assert_eq!(slot, expected);
        word[31] = 9;
        assert_eq!(Slot::of(U256::from_big_endian(&word)), None);
    }

    #[test]
    fn an_answer_of_another_shape_is_refused() {
        for answer in [&[][..], &[0; 31], &[0xFF; 64], &[0xFF; 4096]] {
            assert_eq!((slots(answer, 1), account_of(answer)), (None, None));
        }
        let none = ethers_core::abi::encode(&[Token::Array(Vec::new())]);
        assert_eq!(slots(&none, 1), None, "another number of files");
        assert_eq!(event(vec![topic()], vec![0xFF; 200], 1, None), None);
    }

    /// An answer as a provider could change it: cut, longer, or with other bytes.
    fn changed(answer: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
        let flips = proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4);
        (Just(answer), flips, 0..3_usize, any::<u16>()).prop_map(|(mut answer, flips, how, len)| {
            for (at, byte) in flips {
                let at = at.index(answer.len());
                answer[at] = byte;
            }
            match how {
                0 => answer.truncate(usize::from(len) % (answer.len() + 1)),
                1 => answer.resize(answer.len() + usize::from(len) % 64, 0xFF),
                _ => {}
            }
            answer
        })
    }

    fn answers() -> impl Strategy<Value = Vec<u8>> {
        let log = [Token::Uint(1.into()), Token::Uint(1.into()), Token::Uint(1.into()), Token::Uint(0.into())];
        let log = ethers_core::abi::encode(&[&log[..], &[Token::Bytes(vec![7; 640])]].concat());
        let words = ethers_core::abi::encode(&[Token::Array(vec![Token::Uint(U256::MAX); 3])]);
        let refusal = keccak256("VersionConflict(bytes32,uint32,uint32)")[..4].to_vec();
        let random = proptest::collection::vec(any::<u8>(), 0..300);
        prop_oneof![changed(log), changed(words), changed([&refusal[..], &[0; 96]].concat()), random]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn hostile_answers_are_refused_or_within_their_bounds(answer in answers()) {
            if let Some(slots) = slots(&answer, 3) {
                prop_assert!(slots.len() == 3 && slots.iter().all(|slot| slot.block < 1 << 40));
            }
            account_of(&answer);
            revert(&answer);
            let topics = vec![topic(), H256([1; 32]), H256([0; 32])];
            if let Some(event) = event(topics, answer, 1, None) {
                prop_assert!(event.version > 0 && event.record.len() <= MAX_RECORD_LEN);
                prop_assert_eq!(event.kind.is_live(), !event.record.is_empty());
            }
        }
    }

    #[test]
    fn the_errors_of_the_contract_are_told_apart() {
        let conflict = [
            &keccak256("VersionConflict(bytes32,uint32,uint32)")[..4],
            &ethers_core::abi::encode(&[word([1; 32]), number(2), number(3)]),
        ];
        let expected = Revert::VersionConflict { file: FileId::new([1; 32]), expected: 2, actual: 3 };
        assert_eq!(revert(&conflict.concat()), expected);
        assert_eq!(revert(&[&keccak256("NotFound(bytes32)")[..4], &[0; 32]].concat()), Revert::NotFound);
        assert_eq!(revert(&[&keccak256("Exhausted(bytes32)")[..4], &[0; 32]].concat()), Revert::Exhausted);
        for other in [&[][..], &[1, 2, 3], conflict[0], &[9; 100]] {
            assert_eq!(revert(other), Revert::Other);
        }
    }
}
