//! What the library does with hostile bytes: functions that hold for every input, for tests and for libFuzzer.
//!
//! Invariant: a target panics if and only if the library breaks a promise; it asks nothing but its input.

mod content;
mod input;
mod message;
mod record;
mod seed;
mod server;
mod session;
mod text;
mod world;

use dstore::id::{NetworkId, NodeId};
use dstore::proto::{self, InviteTerms, Signed};
use dstore::rt::Timestamp;
use dstore::signature::{SecretKey, Signature};

/// `Some` when the input was taken for what the target is about, so that seeds which lead nowhere are noticed.
type Accepted = Option<()>;

/// A decoder, or a side of a conversation, and what is held against it.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    run: fn(&[u8]) -> Accepted,
    /// Inputs to begin with.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
    /// The most memory that is taken at once, bytes: so many, and so many for each byte of the input.
    memory: (usize, usize),
}

impl Target {
    /// Runs one input; whether it was accepted.
    ///
    /// # Panics
    /// When a promise is broken, that about memory included.
    pub(crate) fn check(&self, data: &[u8]) -> bool {
        let mut accepted = None;
        let used = allocation_counter::measure(|| accepted = (self.run)(data)).bytes_max;
        let (fixed, each) = self.memory;
        let bound = (fixed + each * data.len()) as u64;
        assert!(used <= bound, "{}: {used} bytes of memory for {} bytes, not {bound}", self.name, data.len());
        accepted.is_some()
    }
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Messages between client, node and registry.
pub(crate) const MESSAGES: &[Target] = &[
    Target { name: "node_request", run: message::node_request, seeds: messages, memory: (4 * KIB, 16) },
    Target { name: "node_reply", run: message::node_reply, seeds: messages, memory: (4 * KIB, 64) },
    Target { name: "put_end", run: message::put_end, seeds: messages, memory: (4 * KIB, 16) },
    Target { name: "registry_request", run: message::registry_request, seeds: messages, memory: (4 * KIB, 64) },
    Target { name: "registry_reply", run: message::registry_reply, seeds: messages, memory: (4 * KIB, 192) },
    Target { name: "statement", run: message::statement, seeds: statements, memory: (4 * KIB, 64) },
];

fn messages() -> Vec<Vec<u8>> {
    seed::of(&["messages"])
}

/// What is signed, without the signature: the target signs.
fn statements() -> Vec<Vec<u8>> {
    let signed = |seed: &Vec<u8>| proto::decode::<(Vec<u8>, Signature)>("signed", seed).ok();
    let bytes: Vec<_> = seed::of(&["statements"]).iter().filter_map(signed).map(|(bytes, _)| bytes).collect();
    (0..5).flat_map(|kind| seed::behind(&[kind], &bytes)).collect()
}

/// What is kept on a ledger.
pub(crate) const RECORDS: &[Target] = &[
    Target { name: "manifest", run: record::manifest, seeds: manifests, memory: (64 * KIB, 128) },
    Target { name: "record", run: record::record, seeds: records, memory: (64 * KIB, 128) },
    Target { name: "copy", run: record::copy, seeds: copies, memory: (64 * KIB, 128) },
];

fn copies() -> Vec<Vec<u8>> {
    // Ledger, file, version, kind, and the length of the record that follows.
    let text = |kind: u8, len: u8| {
        let header = [&[2; 32][..], &[3; 32], &[4, 5, 6, 7], &[kind, 0, len]].concat();
        [header, vec![9; len.into()]].concat()
    };
    let texts = [text(0, 100), text(1, 1), text(2, 0), text(3, 0)];
    [seed::behind(&[0], &seed::of(&["copies"])), seed::behind(&[1], &texts)].concat()
}

fn manifests() -> Vec<Vec<u8>> {
    seed::of(&["manifests"])
}

fn records() -> Vec<Vec<u8>> {
    [seed::behind(&[0], &seed::of(&["records"])), seed::behind(&[1], &manifests())].concat()
}

/// What people write, and a few texts that peers send.
pub(crate) const TEXTS: &[Target] = &[
    Target { name: "path", run: text::path, seeds: || seed::of(&["paths"]), memory: (4 * KIB, 16) },
    Target { name: "registry_address", run: text::registry_address, seeds: addresses, memory: (4 * KIB, 16) },
    Target { name: "invite", run: text::invite, seeds: invites, memory: (4 * KIB, 16) },
    Target { name: "endpoint", run: text::endpoint, seeds: endpoints, memory: (4 * KIB, 16) },
    Target { name: "id", run: text::id, seeds: keys, memory: (4 * KIB, 16) },
    Target { name: "scheme", run: text::scheme, seeds: schemes, memory: (4 * KIB, 16) },
    Target { name: "owner_key", run: text::owner_key, seeds: keys, memory: (4 * KIB, 16) },
    Target { name: "identity_file", run: text::identity_file, seeds: identities, memory: (4 * KIB, 16) },
    Target { name: "env_file", run: text::env_file, seeds: env_files, memory: (64 * KIB, 256) },
    Target { name: "config_file", run: text::config_file, seeds: config_files, memory: (64 * KIB, 1024) },
    Target { name: "setting", run: text::setting, seeds: settings, memory: (64 * KIB, 256) },
];

fn addresses() -> Vec<Vec<u8>> {
    seed::of(&["registry-addresses"])
}

fn invites() -> Vec<Vec<u8>> {
    let terms = InviteTerms { node: NodeId::new([1; 20]), id: [2; 16], not_after: Timestamp::from_millis(3) };
    let key = SecretKey::new(&[4; 32]).expect("a key");
    vec![Signed::new(&terms, &key, NetworkId::new([5; 32]), &[]).to_string().into(), b"dsi1:".to_vec()]
}

fn endpoints() -> Vec<Vec<u8>> {
    ["h:1", "192.0.2.1:4100", "[2001:db8::1]:65535"].into_iter().map(Vec::from).chain(addresses()).collect()
}

fn keys() -> Vec<Vec<u8>> {
    seed::of(&["keys"])
}

fn schemes() -> Vec<Vec<u8>> {
    ["4+2", "standard", "high", "31 + 1"].map(Vec::from).into()
}

fn identities() -> Vec<Vec<u8>> {
    let (signing, transport) = ("55".repeat(32), "66".repeat(32));
    vec![format!("dstore-identity-1\n{signing}\n{transport}\n").into(), "dstore-identity-2\n".into()]
}

fn env_files() -> Vec<Vec<u8>> {
    let key = "11".repeat(32);
    let files = [
        format!("# keys\nexport ETH_PRIVATE_KEY={key}\nDSTORE_SCHEME='4+2' # why\n"),
        "DSTORE_REGISTRY=\"a\nb\"\nDSTORE_JSON=yes\nDSTORE_TIMEOUT=${DSTORE_JSON}s\\n\n".to_owned(),
        "\u{feff}A=$B\nB=\"${A}\\$\"\n".to_owned(),
    ];
    files.map(Vec::from).into()
}

fn config_files() -> Vec<Vec<u8>> {
    let files = [
        "registry = [\"a\", \"b\"]\ninline_max = 0\njson = true\ntimeout = \"5s\"\n",
        "scheme = \"\"\"4+2\"\"\"\n\"network\" = 'x'\n# why\nquiet = false\n",
        "[registry]\na.b = 1979-05-27T07:32:00Z\n[[x]]\ny = { z = 0x1f }\n",
    ];
    files.map(Vec::from).into()
}

fn settings() -> Vec<Vec<u8>> {
    let texts = ["30s", "1h 5min", "yes", "off", "4+2", "0", ""];
    texts.into_iter().map(Vec::from).chain(addresses()).collect()
}

/// How a content is cut, sealed, coded and proved. The code keeps tables of 8 MiB, made at its first use.
pub(crate) const CONTENTS: &[Target] = &[
    Target { name: "shape", run: content::shape, seeds: nothing_known, memory: (4 * KIB, 16) },
    Target { name: "segment", run: content::segment, seeds: nothing_known, memory: (MIB, 64) },
    Target { name: "erasure", run: content::erasure, seeds: nothing_known, memory: (16 * MIB, 64) },
    Target { name: "proof", run: content::proof, seeds: proofs, memory: (MIB, 64) },
];

/// For targets whose inputs say what to do, rather than being it.
fn nothing_known() -> Vec<Vec<u8>> {
    let counting = |step: usize| (0..64).map(|at| u8::try_from(at * step % 256).unwrap_or(0)).collect();
    (0..16).map(counting).collect()
}

fn proofs() -> Vec<Vec<u8>> {
    // Of 1 to 9 blocks, all of them, with the true proof; then ranges that do not exist.
    let small = (0..9).map(|blocks| vec![0, blocks, 0, blocks + 1, 1, 0, blocks, 0, 7]);
    small.chain(seed::behind(&[0, 0, 9, 10], &nothing_known())).collect()
}

/// Handshakes, frames, and the two servers behind them.
pub(crate) const SESSIONS: &[Target] = &[
    Target { name: "refusal", run: session::refusal, seeds: nothing_known, memory: (4 * KIB, 16) },
    Target { name: "handshake_messages", run: session::handshake_messages, seeds: steps, memory: (16 * KIB, 64) },
    Target { name: "frames", run: session::frames, seeds: steps, memory: (256 * KIB, 64) },
    Target { name: "handshake", run: server::handshake, seeds: handshakes, memory: (512 * KIB, 64) },
    Target { name: "node_link", run: server::node_link, seeds: node_links, memory: (16 * MIB, 64) },
    Target { name: "registry_link", run: server::registry_link, seeds: registry_links, memory: (512 * KIB, 64) },
    Target { name: "dialled", run: server::dialled, seeds: dialled, memory: (512 * KIB, 64) },
];

fn steps() -> Vec<Vec<u8>> {
    (0..8).flat_map(|first| seed::behind(&[first], &nothing_known())).collect()
}

fn handshakes() -> Vec<Vec<u8>> {
    let honest = (1..4).map(|mode| vec![mode, 5]);
    let strange = (0..3).flat_map(|mode| seed::behind(&[mode, 0], &seed::of(&["handshakes"])));
    honest.chain(strange).collect()
}

/// Splitting, then steps: two bytes each, and what the step needs.
fn node_links() -> Vec<Vec<u8>> {
    let messages = messages().into_iter().filter(|message| message.len() < 256);
    let raw = messages.map(|message| [&[0, 12, u8::try_from(message.len()).unwrap_or(0)][..], &message].concat());
    // A put in one message and a read of its block; a put with a body; a put and its deletion.
    let put = [&[0, 7, 1, 0, 100][..], &[0; 9]].concat();
    let small = [&put[..], &[9, 1, 0, 0], &[0; 9], &[0, 0, 0, 0, 0, 0, 0, 0, 1]].concat();
    let body = [&[3, 6, 13, 0, 0][..], &[0; 9], &[2, 13, 64, 0, 3, 13, 0, 9, 5, 0]].concat();
    let gone = [&put[..], &[11, 1]].concat();
    raw.chain([small, body, gone]).collect()
}

fn registry_links() -> Vec<Vec<u8>> {
    let len = |message: &[u8]| u16::try_from(message.len()).unwrap_or(u16::MAX).to_be_bytes();
    messages().iter().map(|message| [&[0, 1][..], &len(message), message].concat()).collect()
}

fn dialled() -> Vec<Vec<u8>> {
    let listed = [2, 0, 1, 3, 0, 0, 0, 0, 0, 0, 0x27, 0x10];
    let replies = messages().into_iter().filter(|message| message.len() < 256);
    let replies = replies.map(|reply| [&[2, 3, 100, u8::try_from(reply.len()).unwrap_or(0)][..], &reply].concat());
    replies.chain([listed.into(), vec![1, 0], vec![0, 9, 0, 0, 1, 1, 1, 1]]).collect()
}

/// Every target.
pub(crate) fn all() -> impl Iterator<Item = &'static Target> {
    [MESSAGES, RECORDS, TEXTS, CONTENTS, SESSIONS].into_iter().flatten()
}
