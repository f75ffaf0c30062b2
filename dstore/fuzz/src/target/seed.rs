//! Inputs to begin with, read from the vectors of the formats.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

/// Every byte string in these folders of vectors, hex or `xof`, and every text, as long as it is short.
pub(super) fn of(folders: &[&str]) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for folder in folders {
        for file in fs::read_dir(vectors().join(folder)).expect("a folder of vectors") {
            let text = fs::read_to_string(file.expect("readable").path()).expect("a vector");
            let vector: Value = serde_json::from_str(&text).expect("JSON");
            collect(&vector["input"], &mut seeds);
            collect(&vector["expect"], &mut seeds);
        }
    }
    // The order of a folder's files is nobody's promise.
    seeds.sort();
    seeds.dedup();
    seeds
}

fn vectors() -> PathBuf {
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    // This file belongs to the tests of `dstore` and to the crate in its folder `fuzz`.
    let dstore = if package.ends_with("fuzz") { package.join("..") } else { package };
    dstore.join("tests/vectors")
}

/// Longer ones are contents, of which one byte is as good as another.
const MAX_LEN: usize = 5000;

fn collect(value: &Value, seeds: &mut Vec<Vec<u8>>) {
    match value {
        Value::String(text) if text.len() <= 2 * MAX_LEN => {
            seeds.push(hex::decode(text).unwrap_or_else(|_| text.clone().into_bytes()));
            seeds.push(text.clone().into_bytes());
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, seeds)),
        Value::Object(fields) => fields.values().for_each(|field| collect(field, seeds)),
        _ => {}
    }
    seeds.retain(|seed| seed.len() <= MAX_LEN);
}

/// Each of `seeds` behind `prefix`.
pub(super) fn behind(prefix: &[u8], seeds: &[Vec<u8>]) -> Vec<Vec<u8>> {
    seeds.iter().map(|seed| [prefix, seed].concat()).collect()
}
