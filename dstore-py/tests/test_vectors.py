"""Every vector of a format at rest, checked with the independent reader's own primitives.

The families `handshakes`, `frames`, `messages`, `statements` and `codes` are about messages on the wire (docs/wire.md) only,
which a reader of what is at rest does not need: they are left out here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from independent import erasure, keys, tree
from independent.address import RegistryAddress
from independent.keys import Content, Owner, Refused
from independent.manifest import BLOCK, PADDINGS, Lengths, Manifest, block_length, padded_length, tolerance
from independent.record import Place, open_copy, open_record, seal_record
from independent.segment import open_segment, seal_segment
from independent.signature import check, sign

VECTORS = Path(__file__).resolve().parents[2] / "dstore" / "tests" / "vectors"
ONLY_ON_THE_WIRE = {"codes", "frames", "handshakes", "messages", "statements"}
OWN_WORDS = {
    "config": ("scheme:", "address:"),
    "invalid_path": ("path:",),
    "not_a_key": ("key:", "owner key:"),
    "tampered": ("segment: seal",),
    "too_large": ("lengths:",),
}

Fields = dict[str, Any]


def given(value: Any) -> bytes:
    """Bytes as the vectors' README says: hex, or a part of BLAKE3's output stream."""
    if isinstance(value, str):
        return bytes.fromhex(value)
    return blake3(value["xof"].encode()).digest(length=value["len"], seek=value.get("from", 0))


def like(shown: Any, value: bytes) -> Any:
    """Bytes in the way that the expectation shows them."""
    return {"len": len(value), "blake3": blake3(value).hexdigest()} if isinstance(shown, dict) else value.hex()


def lengths_of(scheme: str, padded: int = 0) -> Lengths:
    k, m = map(int, scheme.split("+"))
    return Lengths(k, m, padded)


def paths(fields: Fields, expect: Fields) -> Fields:
    return {"text": keys.check_path(given(fields["path"]))}


def derived(fields: Fields, expect: Fields) -> Fields:
    def owner() -> Owner:
        return Owner(given(fields["owner_key"]))

    def content() -> Content:
        return Content(given(fields["content_key"]))

    def path() -> Fields:
        return {
            "salt": owner().path_salt(fields["path"]).hex(),
            "file_id": owner().file_id(fields["path"]).hex(),
        }

    def identity() -> Fields:
        own = keys.public_key(given(fields["signing_key"]), compressed=False)
        noise_key = keys.transport_public_key(given(fields["transport_key"]))
        return {"id": keys.address(own).hex(), "noise_key": noise_key.hex()}

    def transport() -> Fields:
        key = owner().transport_key(given(fields["toward"]))
        return {"transport_key": key.hex(), "noise_key": keys.transport_public_key(key).hex()}

    def capability() -> Fields:
        key = content().capability_key(given(fields["node"]))
        return {"capability_key": key.hex(), "capability": keys.public_key(key).hex()}

    def copy() -> Fields:
        key = owner().copy_authority(given(fields["ledger"]), given(fields["file_id"]), given(fields["node"]))
        own = keys.public_key(key)
        return {"copy_authority": key.hex(), "key": own.hex(), "copy_id": keys.copy_id(own).hex()}

    def shard_id() -> Fields:
        name = keys.shard_id(given(fields["capability"]), fields["index"], fields["generation"])
        return {"shard_id": name.hex()}

    derivations: dict[str, Callable[[], Fields]] = {
        "owner": lambda: {"owner_id": owner().id.hex()},
        "owner of text": lambda: {"owner_key": Owner.parse(fields["text"]).key.hex()},
        "identity": identity,
        "network": lambda: {"network_id": keys.network_id(fields["label"]).hex()},
        "path": path,
        "record key": lambda: {"record_key": owner().record_key(given(fields["file_id"])).hex()},
        "transport key": transport,
        "copy": copy,
        "copy key": lambda: {"copy_key": owner().copy_key(given(fields["node"])).hex()},
        "content id": lambda: {"content_id": content().id.hex()},
        "segment key": lambda: {"segment_key": content().segment_key(fields["epoch"]).hex()},
        "capability": capability,
        "shard id": shard_id,
    }
    return derivations[fields["derive"]]()


def lengths(fields: Fields, expect: Fields) -> Fields:
    def row(size: int) -> Fields:
        cut = lengths_of(fields["scheme"], padded_length(size, PADDINGS.index(fields["padding"])))
        last = cut.segments - 1
        return {
            "size": size,
            "padded": cut.padded,
            "segments": cut.segments,
            "last_segment": cut.segment(last),
            "last_block": cut.block(last),
            "shard_len": cut.shard,
        }

    return {"rows": [row(size) for size in fields["sizes"]]}


def segments(fields: Fields, expect: Fields) -> Fields:
    content, first, last = Content(given(fields["content_key"])), fields["first"], fields["last"]
    if fields["do"] == "open":
        return {"plaintext": open_segment(content, first, given(fields["segment"]), last=last).hex()}
    plaintext = given(fields["plaintext"])
    cut = lengths_of(fields["scheme"], len(plaintext))
    sealed = []
    for at in range(cut.segments):
        part = plaintext[at * cut.full_segment :][: cut.segment(at)]
        ends = last and at == cut.segments - 1
        sealed.append(seal_segment(content, first + at, part, last=ends))
        assert open_segment(content, first + at, sealed[-1], last=ends) == part
    return {"segments": [like(shown, segment) for shown, segment in zip(expect["segments"], sealed, strict=True)]}


def stripes(fields: Fields, expect: Fields) -> Fields:
    scheme = lengths_of(fields["scheme"])
    if fields["do"] == "rebuild":
        held = {index: given(shard) for index, shard in enumerate(fields["shards"]) if shard is not None}
        data = erasure.rebuild(held, scheme.k, scheme.m)
        return {f"shard_{index}": shard.hex() for index, shard in enumerate(data) if index not in held}
    sealed = given(fields["sealed_segment"])
    size = block_length(scheme.k, len(sealed))
    filled = sealed.ljust(scheme.k * size, b"\0")
    data = [filled[at : at + size] for at in range(0, len(filled), size)]
    parity = erasure.parity(data, scheme.m)
    return {
        "block_len": size,
        "data": [like(shown, block) for shown, block in zip(expect["data"], data, strict=True)],
        "parity": [like(shown, block) for shown, block in zip(expect["parity"], parity, strict=True)],
    }


def trees(fields: Fields, expect: Fields) -> Fields:
    if fields["do"] == "verify":
        proof, first = [given(value) for value in fields["proof"]], fields["first"]
        total = fields["shard_len"]
        proved = tree.proved_leaves(given(fields["root"]), total, first, fields["count"], proof)
        for block in fields["blocks"]:
            tree.check_block(given(block["bytes"]), block["index"], total, first, proved)
        return {"proved": True}
    shard = given(fields["shard"])
    root = blake3(shard).digest()
    if fields["do"] == "prove":
        proof = tree.prove(shard, fields["first"], fields["count"])
        assert tree.proved_leaves(root, len(shard), fields["first"], fields["count"], proof)
        return {"root": root.hex(), "proof": [value.hex() for value in proof]}
    values = tree.values(shard)
    if len(shard) > BLOCK:
        assert tree.root(tree.leaves(shard)) == root
    for first, leaf in enumerate(tree.leaves(shard)):
        assert values[tree.position(first, 0)] == leaf
    return {"root": root.hex(), "values": [value.hex() for value in values]}


def described(manifest: Manifest) -> Fields:
    """A manifest as the vectors show one: their names for paddings are the reference implementation's."""

    def shown(value: Any) -> Any:
        return value.hex() if isinstance(value, bytes) else value

    fields = {name: shown(value) for name, value in vars(manifest).items() if name not in ("k", "m")}
    fields["scheme"] = [manifest.k, manifest.m]
    fields["padding"] = ["None", "Padme"][manifest.padding]
    fields["shards"] = [{name: shown(value) for name, value in vars(shard).items()} for shard in manifest.shards]
    fields["nodes"] = [{name: shown(value) for name, value in vars(node).items()} for node in manifest.nodes]
    fields["attributes"] = [list(pair) for pair in manifest.attributes]
    return fields


def manifests(fields: Fields, expect: Fields) -> Fields:
    manifest = Manifest.decode(given(fields["encoded"]))
    return {"manifest": described(manifest), "tolerates": manifest.tolerates}


def records(fields: Fields, expect: Fields) -> Fields:
    owner = Owner(given(fields["owner_key"]))
    place = Place(given(fields["ledger"]), given(fields["file"]), fields["version"])
    manifest = open_record(owner, place, given(fields["record"]))
    encoded = given(expect["manifest"])
    assert Manifest.decode(encoded) == manifest
    assert seal_record(owner, place, encoded).hex() == fields["record"], "the same input gives the same bytes"
    return {"manifest": expect["manifest"]}


def copies(fields: Fields, expect: Fields) -> Fields:
    owner = Owner(given(fields["owner_key"]))
    copy = open_copy(owner, given(fields["node"]), given(fields["id"]), fields["version"], given(fields["body"]))
    place = copy.place
    record = like(expect["record"], copy.record)
    return {
        "ledger": place.ledger.hex(),
        "file": place.file.hex(),
        "version": place.version,
        "kind": copy.kind,
        "record": record,
    }


def placement(fields: Fields, expect: Fields) -> Fields:
    rows = fields["rows"]
    return {"tolerated": [tolerance(row["holders"], lengths_of(row["scheme"]).m) for row in rows]}


def signatures(fields: Fields, expect: Fields) -> Fields:
    network, text, signature = (given(fields[name]) for name in ("network", "text", "signature"))
    for signer in (given(fields["address"]), given(fields["public_key"])):
        check(signature, fields["statement"], network, text, signer)
    for v in {0, 1, 2, 3, 27, 28, 255} - {signature[64]}:
        with pytest.raises(Refused):
            check(signature[:64] + bytes([v]), fields["statement"], network, text, signer)
    if "secret" in fields:
        assert sign(given(fields["secret"]), fields["statement"], network, text) == signature
    return {"valid": True}


def registry_addresses(fields: Fields, expect: Fields) -> Fields:
    address = RegistryAddress.parse(fields["text"])
    return {"noise_key": address.noise_key.hex(), "id": address.id.hex(), "endpoint": address.endpoint}


FAMILIES: dict[str, Callable[[Fields, Fields], Fields]] = {
    "copies": copies,
    "keys": derived,
    "lengths": lengths,
    "manifests": manifests,
    "paths": paths,
    "placement": placement,
    "records": records,
    "registry-addresses": registry_addresses,
    "segments": segments,
    "signatures": signatures,
    "stripes": stripes,
    "trees": trees,
}
FILES = sorted(file for family in FAMILIES for file in (VECTORS / family).glob("*.json"))


def test_every_family_of_vectors_is_checked_here_or_is_about_the_wire_only() -> None:
    families = {folder.name for folder in VECTORS.iterdir() if folder.is_dir()}
    assert families == set(FAMILIES) | ONLY_ON_THE_WIRE
    assert {file.parent.name for file in FILES} == set(FAMILIES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_what_the_document_says_gives_what_the_vector_expects(file: Path) -> None:
    vector = json.loads(file.read_text(encoding="utf-8"))
    assert vector["format"] == file.parent.name
    run = FAMILIES[vector["format"]]
    if "refused" not in vector:
        assert run(vector["input"], vector["expect"]) == vector["expect"], vector["what"]
        return
    with pytest.raises(Refused) as refused:
        run(vector["input"], {"record": "", "manifest": ""})
    word = vector["refused"]
    assert str(refused.value).startswith(OWN_WORDS.get(word, (word,))), vector["what"]


def test_any_changed_bit_of_a_manifest_is_refused_or_shows() -> None:
    encoded = given(
        json.loads((VECTORS / "manifests" / "attributes.json").read_text(encoding="utf-8"))["input"]["encoded"]
    )
    manifest = Manifest.decode(encoded)
    for bit in range(8 * len(encoded)):
        changed = bytearray(encoded)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            assert Manifest.decode(bytes(changed)) != manifest
        except Refused:
            continue
    for length in range(len(encoded)):
        with pytest.raises(Refused, match="malformed: "):
            Manifest.decode(encoded[:length])


def test_transport_keys_are_clamped_and_otherwise_what_blake3_gives() -> None:
    owner = Owner(bytes([0x11]) * 32)
    for number in range(64):
        toward = bytes([number]) * 20
        key = owner.transport_key(toward)
        derived = keys.kdf("transport", owner.root + toward)
        assert key[1:31] == derived[1:31]
        assert (key[0] & 0b111, key[31] >> 6) == (0, 0b01)
        assert (key[0] >> 3, key[31] & 0b0011_1111) == (derived[0] >> 3, derived[31] & 0b0011_1111)


def test_the_matrices_are_those_that_the_document_shows() -> None:
    assert erasure.coefficients(4, 2) == ((3, 2, 5, 4), (2, 3, 4, 5))
    assert erasure.coefficients(2, 4) == ((3, 2), (2, 3), (5, 4), (4, 5))
    for many in range(1, 32):
        assert erasure.coefficients(many, 1) == ((1,) * many,)
        assert erasure.coefficients(1, many) == ((1,),) * many


def test_an_owner_key_may_have_white_space_around_it_and_nothing_else() -> None:
    digits = "1a" * 32
    for text in (f"\u3000\t0x{digits}\r\n", digits.upper()):
        assert Owner.parse(text).key == bytes.fromhex(digits)
    for text in (f"0X{digits}", f"0x 0x{digits}", f"\x1c{digits}", f"{digits[:-2]} {digits[-2:]}", "", "0x"):
        with pytest.raises(Refused, match="owner key: "):
            Owner.parse(text)
