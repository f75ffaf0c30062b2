//! What a vector is, where it lives, and which formats there are.

mod content;
mod copies;
mod keys;
mod messages;
mod names;
mod records;
mod session;
pub(crate) mod sweep;

use std::path::PathBuf;

use serde_json::{Value, json};

/// What an input gives: a value, or the word for why it is refused.
pub(crate) type Outcome = Result<Value, String>;

/// One folder of vectors.
pub(crate) struct Format {
    pub(crate) name: &'static str,
    /// The inputs of the vectors that are written, and what is expected of them.
    pub(crate) made: fn() -> Vec<Made>,
    /// What the library makes of an input.
    pub(crate) run: fn(&Value) -> Outcome,
}

pub(crate) const FORMATS: &[Format] = &[
    Format { name: "codes", made: names::codes_made, run: names::codes },
    Format { name: "copies", made: copies::copies_made, run: copies::copy },
    Format { name: "frames", made: session::frames_made, run: session::frames },
    Format { name: "handshakes", made: session::handshakes_made, run: session::handshake },
    Format { name: "keys", made: keys::keys_made, run: keys::keys },
    Format { name: "lengths", made: names::lengths_made, run: names::lengths },
    Format { name: "manifests", made: records::manifests_made, run: records::manifest },
    Format { name: "messages", made: messages::messages_made, run: messages::message },
    Format { name: "paths", made: names::paths_made, run: names::path },
    Format { name: "placement", made: names::placement_made, run: names::placement },
    Format { name: "records", made: records::records_made, run: records::record },
    Format { name: "registry-addresses", made: names::addresses_made, run: names::address },
    Format { name: "segments", made: content::segments_made, run: content::segments },
    Format { name: "signatures", made: keys::signatures_made, run: keys::signature },
    Format { name: "statements", made: messages::statements_made, run: messages::statement },
    Format { name: "stripes", made: content::stripes_made, run: content::stripes },
    Format { name: "trees", made: content::trees_made, run: content::trees },
];

/// A vector to write.
pub(crate) struct Made {
    name: String,
    what: String,
    input: Value,
    refused: Option<&'static str>,
}

pub(crate) fn good(name: impl Into<String>, what: impl Into<String>, input: Value) -> Made {
    Made { name: name.into(), what: what.into(), input, refused: None }
}

pub(crate) fn bad(name: impl Into<String>, what: impl Into<String>, refused: &'static str, input: Value) -> Made {
    Made { name: name.into(), what: what.into(), input, refused: Some(refused) }
}

/// A vector as its file has it.
#[derive(Debug, PartialEq)]
pub(crate) struct Vector {
    pub(crate) name: String,
    what: String,
    pub(crate) input: Value,
    pub(crate) outcome: Outcome,
}

impl Vector {
    pub(crate) fn read(format: &str, name: &str) -> Self {
        let path = folder().join(format).join(format!("{name}.json"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let fields = file.as_object().expect("an object");
        let known = ["format", "what", "input", "expect", "refused"];
        assert!(fields.keys().all(|key| known.contains(&key.as_str())), "{}: a field too many", path.display());
        assert_eq!(file["format"], format, "{}", path.display());
        let outcome = match (fields.get("expect"), fields.get("refused")) {
            (Some(value), None) => Ok(value.clone()),
            (None, Some(word)) => Err(word.as_str().expect("a word").to_owned()),
            _ => panic!("{}: either `expect` or `refused`", path.display()),
        };
        let what = file["what"].as_str().expect("a sentence").to_owned();
        Self { name: name.to_owned(), what, input: file["input"].clone(), outcome }
    }

    pub(crate) fn read_all(format: &str) -> Vec<Self> {
        let mut names: Vec<String> = std::fs::read_dir(folder().join(format))
            .unwrap_or_else(|error| panic!("{format}: {error}"))
            .map(|entry| entry.expect("readable").file_name().into_string().expect("a plain name"))
            .map(|name| name.strip_suffix(".json").unwrap_or_else(|| panic!("{format}/{name}: no vector")).to_owned())
            .collect();
        names.sort();
        names.iter().map(|name| Self::read(format, name)).collect()
    }

    pub(crate) fn is_defective(&self) -> bool {
        self.outcome.is_err()
    }

    pub(crate) fn check(&self, outcome: Outcome) {
        assert_eq!(outcome, self.outcome, "{}: {}", self.name, self.what);
    }

    fn write(&self, format: &str) {
        let mut file = json!({ "format": format, "what": self.what, "input": self.input });
        match &self.outcome {
            Ok(value) => file["expect"] = value.clone(),
            Err(word) => file["refused"] = json!(word),
        }
        let text = serde_json::to_string_pretty(&file).expect("JSON") + "\n";
        std::fs::write(folder().join(format).join(format!("{}.json", self.name)), text).expect("written");
    }
}

/// The vectors that this version of the library would write.
pub(crate) fn made_by(format: &Format) -> impl Iterator<Item = Vector> {
    (format.made)().into_iter().map(|made| {
        let outcome = (format.run)(&made.input);
        assert_eq!(outcome.as_ref().err().map(String::as_str), made.refused, "{}/{}", format.name, made.name);
        Vector { name: made.name, what: made.what, input: made.input, outcome }
    })
}

pub(crate) fn write_all() {
    for format in FORMATS {
        std::fs::create_dir_all(folder().join(format.name)).expect("a folder");
        made_by(format).for_each(|vector| vector.write(format.name));
    }
}

pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

/// The text in this field.
pub(crate) fn text<'a>(input: &'a Value, field: &str) -> &'a str {
    input[field].as_str().unwrap_or_else(|| panic!("no text `{field}`"))
}

/// The number in this field.
pub(crate) fn number<T: TryFrom<u64>>(input: &Value, field: &str) -> T {
    let number = input[field].as_u64().and_then(|number| number.try_into().ok());
    number.unwrap_or_else(|| panic!("no number `{field}`"))
}

/// The bytes of a value: hex, or `len` bytes from offset `from` of the BLAKE3 output stream over the text `xof`.
pub(crate) fn data(value: &Value) -> Vec<u8> {
    if let Some(digits) = value.as_str() {
        return hex::decode(digits).expect("hex");
    }
    let mut bytes = vec![0; number(value, "len")];
    let mut stream = blake3::Hasher::new().update(text(value, "xof").as_bytes()).finalize_xof();
    stream.set_position(value["from"].as_u64().unwrap_or(0));
    stream.fill(&mut bytes);
    bytes
}

/// The bytes in this field.
pub(crate) fn bytes(input: &Value, field: &str) -> Vec<u8> {
    assert!(!input[field].is_null(), "no bytes `{field}`");
    data(&input[field])
}

/// The bytes in this field, of fixed length.
pub(crate) fn array<const N: usize>(input: &Value, field: &str) -> [u8; N] {
    bytes(input, field).try_into().unwrap_or_else(|_| panic!("`{field}` has another length than {N}"))
}

/// The items in this field.
pub(crate) fn list<'a>(input: &'a Value, field: &str) -> &'a [Value] {
    input[field].as_array().unwrap_or_else(|| panic!("no list `{field}`"))
}

/// Bytes as an output: hex, or length and hash when they are many.
pub(crate) fn shown(bytes: &[u8]) -> Value {
    if bytes.len() <= 1024 {
        return json!(hex::encode(bytes));
    }
    json!({ "len": bytes.len(), "blake3": blake3::hash(bytes).to_hex().as_str() })
}

/// `hex`, of anything.
pub(crate) fn hexed(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(bytes)
}

/// `input` with one field replaced.
pub(crate) fn with(input: &Value, field: &str, value: impl Into<Value>) -> Value {
    let mut input = input.clone();
    input[field] = value.into();
    input
}
