//! Paths, lengths, addresses, codes and placement: docs/format.md sections 1, 4, 8; docs/wire.md sections 3, 8, 10.

use dstore::RegistryAddr;
use dstore::id::{NodeId, NoiseKey};
use dstore::noise::HandshakeError;
use dstore::placement::tolerated;
use dstore::proto::Refusal;
use dstore::scheme::Shape;
use dstore::{FilePath, Padding, Scheme};
use serde_json::{Value, json};

use super::{Made, Outcome, array, bad, bytes, good, hexed, list, text, with};

pub(crate) fn path(input: &Value) -> Outcome {
    let path = String::from_utf8(bytes(input, "path")).map_err(|_| "invalid_path".to_owned())?;
    let path = FilePath::new(path).map_err(|error| error.code().to_owned())?;
    Ok(json!({ "text": path.as_str() }))
}

pub(crate) fn paths_made() -> Vec<Made> {
    let input = |path: &[u8]| json!({ "path": hexed(path) });
    let long = "x".repeat(1024);
    let accepted: [(&str, &str, &[u8]); 9] = [
        ("one-part", "A name without separators.", b"a"),
        ("two-parts", "Two parts.", b"notes/a.txt"),
        ("three-dots", "Three dots are an ordinary name.", b"..."),
        ("dots-inside", "Dots beside other characters are ordinary.", b"a/..b/c.."),
        ("spaces", "Spaces are kept as they are.", b"a b/ c"),
        ("chinese", "UTF-8 outside ASCII; not normalised.", "我的 文件.txt".as_bytes()),
        ("backslash", "A backslash separates nothing.", b"C:\\x"),
        ("newline", "Control characters other than NUL are allowed.", b"\n"),
        ("longest", "1,024 bytes.", long.as_bytes()),
    ];
    let too_long = "x".repeat(1025);
    let refused: [(&str, &str, &[u8]); 12] = [
        ("empty", "Empty.", b""),
        ("too-long", "1,025 bytes.", too_long.as_bytes()),
        ("nul", "A NUL character.", b"a\0b"),
        ("absolute", "A slash in front.", b"/a"),
        ("slash-at-end", "A slash at the end.", b"a/"),
        ("only-a-slash", "Nothing but a slash.", b"/"),
        ("empty-part", "Two slashes in a row.", b"a//b"),
        ("dot", "The part `.` alone.", b"."),
        ("dot-inside", "The part `.` inside.", b"a/./b"),
        ("dot-dot", "The part `..` alone.", b".."),
        ("dot-dot-outward", "A path that would leave its folder.", b"../../etc/passwd"),
        ("not-utf-8", "Bytes that are not UTF-8.", b"a\xff"),
    ];
    let accepted = accepted.map(|(name, what, path)| good(name, what, input(path)));
    let refused = refused.map(|(name, what, path)| bad(format!("bad-{name}"), what, "invalid_path", input(path)));
    accepted.into_iter().chain(refused).collect()
}

fn padding(input: &Value) -> Padding {
    match text(input, "padding") {
        "none" => Padding::None,
        "padme" => Padding::Padme,
        other => panic!("padding {other}"),
    }
}

pub(crate) fn scheme(input: &Value) -> Result<Scheme, String> {
    text(input, "scheme").parse().map_err(|error: dstore::Error| error.code().to_owned())
}

pub(crate) fn lengths(input: &Value) -> Outcome {
    let (scheme, padding) = (scheme(input)?, padding(input));
    let rows = list(input, "sizes").iter().map(|size| {
        let size = size.as_u64().expect("a number");
        let padded = padding.padded(size);
        let shape = Shape::new(scheme, padded).ok_or("too_large")?;
        let last = shape.segments() - 1;
        Ok(json!({
            "size": size,
            "padded": padded,
            "segments": shape.segments(),
            "last_segment": shape.plaintext_len(last),
            "last_block": shape.block_len(last),
            "shard_len": shape.shard_len(),
        }))
    });
    rows.collect::<Result<Vec<_>, String>>().map(|rows| json!({ "rows": rows }))
}

pub(crate) fn lengths_made() -> Vec<Made> {
    let input =
        |scheme: &str, padding: &str, sizes: &[u64]| json!({ "scheme": scheme, "padding": padding, "sizes": sizes });
    let borders = [
        0,
        1,
        2,
        3,
        4,
        7,
        8,
        9,
        15,
        16,
        17,
        48,
        49,
        100,
        240,
        241,
        255,
        256,
        257,
        1000,
        16_367,
        16_368,
        16_369,
        65_519,
        65_520,
        65_521,
        65_536,
        131_040,
        131_041,
        1_000_000,
        1 << 30,
        (1 << 40) + 1,
        10_000_000_000_000,
    ];
    let mut made: Vec<_> = ["4+2", "2+4", "1+1", "3+3", "20+12", "31+1"]
        .iter()
        .map(|scheme| {
            let name = format!("unpadded-{}", scheme.replace('+', "-and-"));
            good(
                name,
                format!("Segments, blocks and shards of contents without padding, {scheme}."),
                input(scheme, "none", &borders),
            )
        })
        .collect();
    made.push(good("padme-4-and-2", "The same lengths after padding.", input("4+2", "padme", &borders)));
    let most = (1_u64 << 40) * 16_368;
    made.push(good("most-segments", "2^40 segments, the most there can be.", input("1+1", "none", &[most])));
    made.push(bad("bad-too-many-segments", "2^40 + 1 segments.", "too_large", input("1+1", "none", &[most + 1])));
    for (name, scheme) in [("no-data", "0+2"), ("no-parity", "4+0"), ("too-many-shards", "20+13")] {
        made.push(bad(
            format!("bad-scheme-{name}"),
            "A scheme outside the limits.",
            "config",
            input(scheme, "none", &[1]),
        ));
    }
    made
}

pub(crate) fn address(input: &Value) -> Outcome {
    let given = text(input, "text");
    let address: RegistryAddr = given.parse().map_err(|error: dstore::Error| error.code().to_owned())?;
    assert_eq!(address.to_string(), given, "an address has one text");
    Ok(json!({
        "id": hexed(address.id.as_bytes()),
        "noise_key": hexed(address.noise_key.as_bytes()),
        "endpoint": address.endpoint,
    }))
}

pub(crate) fn addresses_made() -> Vec<Made> {
    let (id, noise_key) = (NodeId::new([0xab; 20]), NoiseKey::new([0xcd; 32]));
    let sample = RegistryAddr { id, noise_key, endpoint: "h:1".into() }.to_string();
    let keys = sample[5..].split('@').next().expect("keys");
    assert!(keys.ends_with('q'), "so that another last digit differs in unused bits alone");
    let address = |endpoint: &str| format!("dsr1:{keys}@{endpoint}");
    let name = json!({ "text": address("registry.example:4100") });
    let refused = [
        ("empty", "Empty.", String::new()),
        ("other-prefix", "The prefix of another version.", format!("dsr2:{keys}@h:1")),
        ("upper-case", "Keys in upper case: an address has one text.", format!("dsr1:{}@h:1", keys.to_uppercase())),
        ("no-keys", "No keys.", "dsr1:@h:1".to_owned()),
        ("short-keys", "A digit too few.", format!("dsr1:{}@h:1", &keys[1..])),
        ("long-keys", "A digit too many.", format!("dsr1:{keys}a@h:1")),
        ("loose-bits", "The unused bits of the last digit are not zero.", format!("dsr1:{}r@h:1", &keys[..83])),
        ("padding", "Base32 padding.", format!("dsr1:{keys}====@h:1")),
        ("foreign-digit", "A digit that base32 does not have.", format!("dsr1:1{}@h:1", &keys[1..])),
        ("no-endpoint", "Nothing after the keys.", format!("dsr1:{keys}")),
        ("no-port", "An endpoint without a port.", address("h")),
        ("large-port", "Port 65,536.", address("h:65536")),
        ("no-host", "An endpoint without a host.", address(":1")),
        ("space", "A space in the endpoint.", address("h h:1")),
        ("long-endpoint", "An endpoint of 65 bytes.", address(&format!("{}:1", "h".repeat(63)))),
    ];
    let refused = refused.map(|(name, what, text)| bad(format!("bad-{name}"), what, "config", json!({ "text": text })));
    [
        good("host-name", "A registry at a host name.", name.clone()),
        good("ipv6", "A registry at an IPv6 address.", with(&name, "text", address("[2001:db8::1]:65535"))),
        good("longest", "An endpoint of 64 bytes.", with(&name, "text", address(&format!("{}:1", "h".repeat(62))))),
    ]
    .into_iter()
    .chain(refused)
    .collect()
}

pub(crate) fn codes(input: &Value) -> Outcome {
    let names: Vec<String> = match text(input, "table") {
        "refusals" => list(input, "codes")
            .iter()
            .map(|code| {
                let code = u16::try_from(code.as_u64().expect("a number")).expect("a code");
                assert_eq!(u16::from(Refusal::from(code)), code);
                format!("{:?}", Refusal::from(code))
            })
            .collect(),
        "handshake refusals" => list(input, "messages")
            .iter()
            .map(|message| {
                let message: [u8; 6] = array(&json!({ "message": message }), "message");
                let [_, _, rest @ ..] = message;
                let error = HandshakeError::from_refusal(rest);
                assert_eq!(error.refusal(), message);
                format!("{error:?}")
            })
            .collect(),
        other => panic!("table {other}"),
    };
    Ok(json!({ "names": names }))
}

pub(crate) fn codes_made() -> Vec<Made> {
    let handshake: Vec<String> = (1..=6_u8).map(|code| hexed([0, 0, code, 1, 1, 1])).collect();
    vec![
        good(
            "refusals",
            "The codes of an abort frame.",
            json!({ "table": "refusals", "codes": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13] }),
        ),
        good(
            "handshake-refusals",
            "What a responder sends in the clear instead of its handshake message.",
            json!({ "table": "handshake refusals", "messages": handshake }),
        ),
    ]
}

pub(crate) fn placement(input: &Value) -> Outcome {
    let rows = list(input, "rows").iter().map(|row| {
        let scheme = scheme(row)?;
        let holders = list(row, "holders");
        assert_eq!(holders.len(), scheme.shards());
        Ok(tolerated(scheme, holders.iter().map(|holder| holder.as_u64().expect("a number"))))
    });
    rows.collect::<Result<Vec<usize>, String>>().map(|tolerated| json!({ "tolerated": tolerated }))
}

pub(crate) fn placement_made() -> Vec<Made> {
    let row = |scheme: &str, holders: &[u8]| json!({ "scheme": scheme, "holders": holders });
    let rows = [
        row("4+2", &[0, 1, 2, 0, 1, 2]),
        row("4+2", &[0, 1, 2, 3, 4, 5]),
        row("4+2", &[0, 0, 0, 1, 2, 3]),
        row("4+2", &[0, 0, 1, 2, 3, 4]),
        row("4+2", &[0, 1, 0, 1, 0, 1]),
        row("2+4", &[0, 1, 2, 0, 1, 2]),
        row("2+4", &[0, 0, 0, 1, 1, 2]),
        row("1+1", &[0, 1]),
        row("1+1", &[0, 0]),
    ];
    vec![good("tolerated", "How many nodes may vanish, for the holder of each shard.", json!({ "rows": rows }))]
}
