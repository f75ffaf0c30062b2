//! The fuzz targets for a short while: their seeds, and a fixed number of changes to these. `make fuzz` runs them longer.

#[path = "../fuzz/src/target/mod.rs"]
mod target;

use std::collections::BTreeSet;

use target::Target;

/// Runs the seeds of each target, and `count` inputs made of them: the same ones every time.
fn smoke(targets: &[Target], count: usize) {
    for target in targets {
        let seeds = (target.seeds)();
        let accepted = seeds.iter().filter(|seed| checked(target, seed)).count();
        assert!(accepted > 0, "{}: none of its seeds leads anywhere", target.name);
        let mut mutator = Mutator::new(target.name);
        (0..count).for_each(|_| _ = checked(target, &mutator.changed(&seeds)));
    }
}

/// [`Target::check`] that shows the input of a panic.
fn checked(target: &Target, data: &[u8]) -> bool {
    struct Shown<'a>(&'a str, &'a [u8]);
    impl Drop for Shown<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("target {}, input {}", self.0, hex::encode(self.1));
            }
        }
    }
    let _shown = Shown(target.name, data);
    target.check(data)
}

/// Makes inputs of others, by a small generator with a fixed beginning.
struct Mutator(blake3::OutputReader);

impl Mutator {
    fn new(name: &str) -> Self {
        Self(blake3::Hasher::new().update(name.as_bytes()).finalize_xof())
    }

    fn below(&mut self, bound: usize) -> usize {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        usize::try_from(u32::from_be_bytes(bytes)).unwrap_or(0) % bound.max(1)
    }

    fn byte(&mut self) -> u8 {
        const BORDERS: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, b':', b'\n', b'"'];
        if self.below(2) == 0 { BORDERS[self.below(8)] } else { u8::try_from(self.below(256)).unwrap_or(0) }
    }

    fn changed(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut data = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(4) {
            let (at, len) = (self.below(data.len()), 1 + self.below(16));
            let end = data.len().min(at + len);
            match self.below(7) {
                0 if !data.is_empty() => data[at] ^= 1 << self.below(8),
                1 if !data.is_empty() => data[at] = self.byte(),
                2 => _ = data.drain(at..end),
                3 => {
                    let byte = self.byte();
                    data.splice(at..at, std::iter::repeat_n(byte, len));
                }
                4 => {
                    let again = data[at..end].to_vec();
                    data.splice(at..at, again);
                }
                5 => {
                    let other = &seeds[self.below(seeds.len())];
                    data.splice(at.., other[self.below(other.len()).min(other.len())..].iter().copied());
                }
                _ => data.truncate(at),
            }
        }
        data
    }
}

#[test]
fn hostile_messages_panic_no_decoder_and_cost_little_memory() {
    smoke(target::MESSAGES, 1000);
}

#[test]
fn hostile_manifests_and_records_are_refused_or_consistent() {
    smoke(target::RECORDS, 2000);
}

#[test]
fn hostile_texts_are_refused_or_read_back() {
    smoke(target::TEXTS, 500);
}

#[test]
fn contents_of_any_size_are_cut_sealed_coded_and_proved_alike() {
    smoke(target::CONTENTS, 200);
}

#[test]
fn hostile_peers_end_no_server_and_stay_on_no_connection() {
    smoke(target::SESSIONS, 100);
}

#[test]
fn every_target_has_a_name_of_its_own() {
    let names: BTreeSet<_> = target::all().map(|target| target.name).collect();
    assert_eq!(names.len(), target::all().count());
}
