//! Changes every byte of good vectors, and cuts them at every length.

use serde_json::json;

use super::{Vector, bytes, content, copies, data, hexed, list, messages, names, records, session, text, with};

/// Every other value of every byte, and every shorter length.
fn every_change(good: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let changed = (0..good.len()).flat_map(move |at| {
        (1..=255_u8).map(move |by| {
            let mut changed = good.to_vec();
            changed[at] ^= by;
            changed
        })
    });
    changed.chain((0..good.len()).map(|len| good[..len].to_vec()))
}

/// Every bit of every byte, and every shorter length.
fn some_changes(good: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let changed = (0..8 * good.len()).map(move |bit| {
        let mut changed = good.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        changed
    });
    changed.chain((0..good.len()).map(|len| good[..len].to_vec()))
}

/// Two bits of every byte, and every shorter length: for what is slow to check.
fn few_changes(good: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let changed = (0..2 * good.len()).map(move |at| {
        let mut changed = good.to_vec();
        changed[at / 2] ^= if at % 2 == 0 { 1 } else { 0x80 };
        changed
    });
    changed.chain((0..good.len()).map(|len| good[..len].to_vec()))
}

/// One bit of every byte, and every shorter length: for what takes long to check in a build for tests.
fn one_change_a_byte(good: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let changed = (0..good.len()).map(move |at| {
        let mut changed = good.to_vec();
        changed[at] ^= 1 << (at % 8);
        changed
    });
    changed.chain((0..good.len()).map(|len| good[..len].to_vec()))
}

/// What decodes, encodes to the same bytes, and nothing panics.
pub(crate) fn encoded(format: &str, vector: &Vector) {
    let kind = if format == "manifests" { "Manifest" } else { text(&vector.input, "type") };
    let good = bytes(&vector.input, "encoded");
    assert!(messages::is_canonical(kind, &good));
    // Every value of every byte where that is quick, else every bit.
    if good.len() <= 100 {
        every_change(&good).for_each(|changed| _ = messages::is_canonical(kind, &changed));
    } else {
        some_changes(&good).for_each(|changed| _ = messages::is_canonical(kind, &changed));
    }
    for len in 0..good.len() {
        assert!(!messages::is_canonical(kind, &good[..len]), "{}: cut at {len}", vector.name);
    }
}

pub(crate) fn statement(vector: &Vector) {
    for changed in one_change_a_byte(&bytes(&vector.input, "signed")) {
        let outcome = messages::statement(&with(&vector.input, "signed", hexed(&changed)));
        assert!(outcome.is_err(), "{}: {}", vector.name, hexed(changed));
    }
}

pub(crate) fn record(vector: &Vector) {
    for changed in one_change_a_byte(&bytes(&vector.input, "record")) {
        assert!(records::record(&with(&vector.input, "record", hexed(changed))).is_err(), "{}", vector.name);
    }
}

pub(crate) fn copy(vector: &Vector) {
    for changed in one_change_a_byte(&bytes(&vector.input, "body")) {
        assert!(copies::copy(&with(&vector.input, "body", hexed(changed))).is_err(), "{}", vector.name);
    }
}

pub(crate) fn proof(vector: &Vector) {
    if text(&vector.input, "do") != "verify" {
        return;
    }
    let verify = |proof: Vec<u8>| {
        let values: Vec<_> = proof.chunks_exact(32).map(hexed).collect();
        content::trees(&with(&vector.input, "proof", json!(values)))
    };
    let proof: Vec<u8> = list(&vector.input, "proof").iter().flat_map(data).collect();
    assert_eq!(verify(proof.clone()), vector.outcome);
    for changed in few_changes(&proof) {
        // A cut inside a value is a cut before it: proofs are whole values.
        assert!(verify(changed).is_err(), "{}", vector.name);
    }
}

pub(crate) fn handshake(vector: &Vector) {
    let Ok(sent) = &vector.outcome else { return };
    for (message, arrives) in
        [("preamble_and_first", "first_arrives_as"), ("second", "second_arrives_as"), ("third", "third_arrives_as")]
    {
        for changed in few_changes(&bytes(sent, message)) {
            assert!(session::handshake(&with(&vector.input, arrives, hexed(changed))).is_err(), "{}", vector.name);
        }
    }
}

/// What parses, prints as the same text: `run` asserts it.
pub(crate) fn address(vector: &Vector) {
    for changed in every_change(text(&vector.input, "text").as_bytes()) {
        let Ok(changed) = String::from_utf8(changed) else { continue };
        let outcome = names::address(&with(&vector.input, "text", changed));
        assert_ne!(outcome, vector.outcome, "{}: another text of the same address", vector.name);
    }
}
