"""Files that the real `dstore-cli` stored, read by the independent reader from what is at rest.

The environment variable TEST_DSTORE_CLI is the path of the binary.
"""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import independent_reader as reader
import pytest
from independent import keys
from independent.erasure import parity
from independent.keys import Owner, Refused
from independent.manifest import PADDINGS, Lengths, Manifest, padded_length
from independent.record import PUT, Copy, Place, open_copy, seal_record
from network import Network, Server

pytest_plugins = ["network"]

SIZES = (0, 1, 32_751, 32_752, 32_753, 65_519, 65_520, 65_521, 5 * 65_520 + 12_345, (1 << 20) + 1)
CASES = [(size, scheme, padding) for size in SIZES for scheme in ("4+2", "2+4") for padding in PADDINGS]
CASES += [(150_000, scheme, "padme") for scheme in ("1+1", "1+5", "3+3", "5+3", "20+12", "10+22")]


@dataclass(frozen=True)
class AtRest:
    """All that is needed to read one version of one file."""

    owner: Owner
    ledger: bytes
    path: str
    version: int
    record: bytes
    shards: dict[int, bytes]

    def rebuild(self) -> bytes:
        return reader.rebuild(self.owner, self.ledger, self.path, self.version, self.record, self.shards)

    @property
    def manifest(self) -> Manifest:
        return reader.open_file(self.owner, self.ledger, self.path, self.version, self.record)


@pytest.fixture(scope="module")
def raw(dstore_cli: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Three nodes that keep each shard in a file of its own, however short it is."""
    options = ["--inline-max", "0"]
    with Network(dstore_cli, tmp_path_factory.mktemp("network"), node_options=options) as network:
        yield network


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def at_rest(network: Network, path: str) -> AtRest:
    """The newest version of a file, from the folders of the client and of the nodes."""
    owner = Owner.read(network.client / "owner.key")
    ledger = sqlite3.connect(f"file:{network.client / 'ledger.db'}?mode=ro", uri=True)
    try:
        (ledger_id,) = ledger.execute("SELECT id FROM ledger").fetchone()
        version, record = ledger.execute(
            "SELECT version, record FROM event WHERE file_id = ? ORDER BY version DESC", [owner.file_id(path)]
        ).fetchone()
    finally:
        ledger.close()
    manifest = reader.open_file(owner, ledger_id, path, version, record)
    shards = reader.find_shards(manifest, [node.shards for node in network.nodes])
    return AtRest(owner, ledger_id, path, version, record, shards)


@pytest.fixture(scope="module")
def stored(raw: Network) -> AtRest:
    """A file of three segments, the last one short."""
    raw.put("folder/stored", content(150_000))
    return at_rest(raw, "folder/stored")


@pytest.mark.parametrize(("size", "scheme", "padding"), CASES)
def test_a_file_is_rebuilt_from_what_is_at_rest(raw: Network, size: int, scheme: str, padding: str) -> None:
    path, plain = f"{scheme}/{padding}/{size}", content(size)
    raw.put(path, plain, "--scheme", scheme, "--padding", padding)
    file = at_rest(raw, path)
    manifest, (k, m) = file.manifest, map(int, scheme.split("+"))

    assert file.rebuild() == plain
    assert (manifest.k, manifest.m, manifest.size) == (k, m, size)
    assert manifest.padded == padded_length(size, PADDINGS.index(padding))
    assert manifest.shard_len == Lengths(k, m, manifest.padded).shard
    assert list(file.shards) == list(range(k + m)), "every shard has the name that its capability gives it"

    data = [file.shards[index] for index in range(k)]
    assert parity(data, m) == [file.shards[index] for index in range(k, k + m)], "nodes keep this parity"
    for first in range(m + 1):
        any_k = {index: file.shards[index] for index in range(first, first + k)}
        assert replace(file, shards=any_k).rebuild() == plain


def test_every_shard_is_at_the_node_that_the_manifest_names(raw: Network, stored: AtRest) -> None:
    manifest = stored.manifest
    for index, shard in enumerate(manifest.shards):
        node = next(node for node in raw.nodes if node.id == manifest.nodes[shard.node].id.hex())
        assert index in reader.find_shards(manifest, [node.shards])
        assert manifest.nodes[shard.node].hint == node.address


def test_a_new_version_and_a_new_path_have_records_of_their_own(raw: Network) -> None:
    raw.put("before", content(1000))
    first = at_rest(raw, "before")
    raw.put("before", content(2000))
    second = at_rest(raw, "before")
    raw.run("mv", "before", "after")
    moved = at_rest(raw, "after")

    assert (first.version, second.version, moved.version) == (1, 2, 1)
    assert first.rebuild() == content(1000), "retired shards are still there for a day"
    assert second.rebuild() == moved.rebuild() == content(2000)
    assert moved.shards == second.shards
    for wrong in (
        replace(first, record=second.record),
        replace(second, version=1),
        replace(moved, path="before", version=2),
        replace(second, shards=first.shards),
    ):
        with pytest.raises(Refused):
            wrong.rebuild()


def test_a_changed_bit_anywhere_in_the_record_is_refused(stored: AtRest) -> None:
    for at in range(len(stored.record)):
        changed = bytearray(stored.record)
        changed[at] ^= 1 << at % 8
        with pytest.raises(Refused, match="record: "):
            replace(stored, record=bytes(changed)).rebuild()
    for record in (b"", stored.record[:-1], stored.record[:-128], stored.record + bytes(128)):
        with pytest.raises(Refused, match="record: "):
            replace(stored, record=record).rebuild()


def test_a_changed_bit_in_any_shard_is_refused_though_it_is_not_needed(stored: AtRest) -> None:
    for index, shard in stored.shards.items():
        for at in (0, 63, 16_383, 16_384, len(shard) - 1):
            changed = bytearray(shard)
            changed[at] ^= 1 << at % 8
            with pytest.raises(Refused, match=f"shard {index}: "):
                replace(stored, shards={**stored.shards, index: bytes(changed)}).rebuild()
        for wrong in (b"", shard[:-1], shard + b"\0"):
            with pytest.raises(Refused, match=f"shard {index}: it has {len(wrong)} bytes"):
                replace(stored, shards={**stored.shards, index: wrong}).rebuild()


def test_another_key_path_ledger_or_version_is_refused(stored: AtRest) -> None:
    key, ledger = bytearray(stored.owner.key), bytearray(stored.ledger)
    key[31] ^= 1
    ledger[0] ^= 0x80
    for wrong in (
        replace(stored, owner=Owner(bytes(key))),
        replace(stored, ledger=bytes(ledger)),
        replace(stored, path="folder/Stored"),
        replace(stored, version=stored.version + 1),
    ):
        with pytest.raises(Refused, match="record: seal"):
            wrong.rebuild()


def test_shards_in_other_places_and_too_few_shards_are_refused(stored: AtRest) -> None:
    swapped = {**stored.shards, 0: stored.shards[1], 1: stored.shards[0]}
    few = {index: stored.shards[index] for index in (1, 3, 5)}
    foreign = {**stored.shards, 6: stored.shards[0]}
    for shards, word in ((swapped, "shard 0: "), (few, "4 are needed"), (foreign, "index")):
        with pytest.raises(Refused, match=word):
            replace(stored, shards=shards).rebuild()


def test_a_manifest_that_states_other_roots_or_another_content_is_refused(stored: AtRest) -> None:
    manifest = stored.manifest
    data = reader.data_shards(manifest, stored.shards)
    reader.check_parity(manifest, data)

    lying = replace(manifest.shards[5], root=bytes(32))
    with pytest.raises(Refused, match="shard 5: "):
        reader.check_parity(replace(manifest, shards=[*manifest.shards[:5], lying]), data)
    with pytest.raises(Refused, match="content: "):
        reader.content(replace(manifest, content_hash=bytes(32)), data)
    with pytest.raises(Refused, match="segment: seal"):
        reader.content(replace(manifest, content_key=bytes(32)), data)


def resealed(file: AtRest, path: str, encoded: bytes) -> AtRest:
    """The same file with another manifest, which its owner has sealed for another path."""
    place = Place(file.ledger, file.owner.file_id(path), file.version)
    return replace(file, path=path, record=seal_record(file.owner, place, encoded))


def encoded_manifest(file: AtRest) -> bytes:
    place = Place(file.ledger, file.owner.file_id(file.path), file.version)
    key = file.owner.record_key(place.file)
    plaintext = keys.siv_open(key, file.record[1:], place.associated(file.owner), "record: seal")
    return plaintext[2 : 2 + int.from_bytes(plaintext[:2], "big")]


def test_a_record_that_opens_and_lies_is_refused(stored: AtRest) -> None:
    encoded, manifest = encoded_manifest(stored), stored.manifest
    assert resealed(stored, stored.path, encoded) == stored
    with pytest.raises(Refused, match="another path"):
        resealed(stored, "folder/another", encoded).rebuild()

    other_parity = encoded.replace(manifest.shards[5].root, bytes(32))
    data = {index: stored.shards[index] for index in range(4)}
    with pytest.raises(Refused, match="shard 5: "):
        replace(resealed(stored, stored.path, other_parity), shards=data).rebuild()

    other_content = encoded.replace(manifest.content_hash, bytes(32))
    with pytest.raises(Refused, match="content: "):
        resealed(stored, stored.path, other_content).rebuild()


def copies_at(node: Server, copy_id: bytes) -> list[tuple[int, bytes]]:
    """The newest version of a copy, from the node's private database, if it has one."""
    index = sqlite3.connect(f"file:{node.dir / 'index.db'}?mode=ro", uri=True)
    try:
        return index.execute("SELECT version, body FROM copies WHERE id = ?", [copy_id]).fetchall()
    finally:
        index.close()


def test_more_nodes_than_may_be_lost_keep_a_copy_of_the_record(raw: Network, stored: AtRest) -> None:
    place, opened = Place(stored.ledger, stored.owner.file_id(stored.path), stored.version), 0
    for node in raw.nodes:
        id = bytes.fromhex(node.id)
        copy_id = keys.copy_id(keys.public_key(stored.owner.copy_authority(place.ledger, place.file, id)))
        for version, body in copies_at(node, copy_id):
            assert open_copy(stored.owner, id, copy_id, version, body) == Copy(place, PUT, stored.record)
            opened += 1
            for at in range(len(body)):
                changed = bytearray(body)
                changed[at] ^= 1 << at % 8
                with pytest.raises(Refused, match="copy: "):
                    open_copy(stored.owner, id, copy_id, version, bytes(changed))
    assert opened > stored.manifest.tolerates


def run_command(raw: Network, file: AtRest, key_file: Path, output: Path) -> subprocess.CompletedProcess[str]:
    record = raw.home / "record"
    record.write_bytes(file.record)
    command: list[str | Path] = [sys.executable, reader.__file__, "--owner-key-file", key_file, "--record", record]
    command += ["--ledger-id", file.ledger.hex(), "--version", str(file.version), "--path", file.path, "-o", output]
    for node in raw.nodes:
        command += ["--shards", node.shards]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_the_command_writes_the_file(raw: Network, stored: AtRest, tmp_path: Path) -> None:
    ended = run_command(raw, stored, raw.client / "owner.key", tmp_path / "out")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert (tmp_path / "out").read_bytes() == content(150_000)


def test_the_command_says_why_it_writes_nothing(raw: Network, stored: AtRest, tmp_path: Path) -> None:
    readable = tmp_path / "key"
    readable.write_bytes((raw.client / "owner.key").read_bytes())
    readable.chmod(0o644)
    long = tmp_path / "long"
    long.touch(0o600)
    long.write_bytes(readable.read_bytes().ljust(4097))
    for file, key_file, word in (
        (stored, long, "too long"),
        (stored, readable, "others have access"),
        (replace(stored, record=bytes([1]) * 640), raw.client / "owner.key", "record: seal"),
        (replace(stored, path="../stored"), raw.client / "owner.key", "path: "),
    ):
        ended = run_command(raw, file, key_file, tmp_path / "out")
        assert ended.returncode == 1
        assert word in ended.stderr
        assert stored.owner.key.hex() not in ended.stderr
        assert not (tmp_path / "out").exists()


def test_nothing_secret_shows_in_a_repr(stored: AtRest) -> None:
    shown = repr(stored.owner) + repr(stored.manifest)
    for secret in (stored.owner.key, stored.owner.root, stored.manifest.content_key):
        assert repr(secret) not in shown
        assert secret.hex() not in shown
