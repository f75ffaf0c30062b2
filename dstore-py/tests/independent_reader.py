"""Reads a file of dstore from the bytes that are at rest: raw shards, a sealed record and the owner's key.

It was written from docs/format.md (and sections 5 and 6.1 of docs/wire.md, to which that refers) and shares no code with
dstore, so that the document is known to be enough. `rebuild` follows section 12, "How to read a file", without a network.

    python independent_reader.py --owner-key-file KEY --ledger-id HEX --version N --record RECORD \\
        --path PATH --shards NODE1/shards --shards NODE2/shards -o OUT
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from blake3 import blake3
from independent import erasure
from independent.keys import Content, Owner, Refused, check_path
from independent.manifest import BLOCK, SIV, Manifest
from independent.record import Place, open_record
from independent.segment import open_segment


def open_file(owner: Owner, ledger_id: bytes, path: str, version: int, record: bytes) -> Manifest:
    """Section 12, steps 1 and 3: the manifest of this version of the file at this path."""
    path = check_path(path.encode())
    manifest = open_record(owner, Place(ledger_id, owner.file_id(path), version), record)
    if manifest.path != path:
        raise Refused("manifest: it is of another path")
    return manifest


def check_shard(manifest: Manifest, index: int, shard: bytes) -> None:
    """Sections 6.1 and 6.3: the length and the root that the manifest states."""
    if len(shard) != manifest.shard_len:
        raise Refused(f"shard {index}: it has {len(shard)} bytes, not {manifest.shard_len}")
    if blake3(shard).digest() != manifest.shards[index].root:
        raise Refused(f"shard {index}: its BLAKE3 hash is not the root in the manifest")


def data_shards(manifest: Manifest, shards: Mapping[int, bytes]) -> list[bytes]:
    """The data shards, checked; those that are missing are rebuilt from others (section 6.2). All that is given must be right."""
    if not all(0 <= index < manifest.k + manifest.m for index in shards):
        raise Refused("shards: an index that the manifest does not have")
    for index, shard in shards.items():
        check_shard(manifest, index, shard)
    data = erasure.rebuild(shards, manifest.k, manifest.m)
    for index, shard in enumerate(data):
        check_shard(manifest, index, shard)
    return data


def check_parity(manifest: Manifest, data: list[bytes]) -> None:
    """Section 6.2: the parity that follows from the data has the roots in the manifest."""
    for at, shard in enumerate(erasure.parity(data, manifest.m)):
        check_shard(manifest, manifest.k + at, shard)


def sealed_segments(manifest: Manifest, data: list[bytes]) -> Iterable[bytes]:
    """Section 6.1: each stripe without the zeros that fill it up."""
    lengths = manifest.lengths
    for index in range(lengths.segments):
        start, end = index * BLOCK, index * BLOCK + lengths.block(index)
        yield b"".join(shard[start:end] for shard in data)[: lengths.segment(index) + SIV]


def content(manifest: Manifest, data: list[bytes]) -> bytes:
    """Sections 4 and 12, steps 6 and 7: the bytes of the file."""
    keys, last = Content(manifest.content_key), manifest.lengths.segments - 1
    segments = enumerate(sealed_segments(manifest, data))
    padded = b"".join(open_segment(keys, index, sealed, last=index == last) for index, sealed in segments)
    plain = padded[: manifest.size]
    if len(padded) != manifest.padded or blake3(plain).digest() != manifest.content_hash:
        raise Refused("content: its BLAKE3 hash is not the one in the manifest")
    return plain


def rebuild(
    owner: Owner, ledger_id: bytes, path: str, version: int, record: bytes, shards: Mapping[int, bytes]
) -> bytes:
    """The file, from at least k of its shards by their index; Refused if anything that is given is wrong."""
    manifest = open_file(owner, ledger_id, path, version, record)
    data = data_shards(manifest, shards)
    plain = content(manifest, data)
    check_parity(manifest, data)
    return plain


def find_shards(manifest: Manifest, folders: Iterable[Path]) -> dict[int, bytes]:
    """The shards that are in the `shards` folders of these nodes, by their index in the manifest."""
    places = list(folders)
    found: dict[int, bytes] = {}
    for index, shard_id in enumerate(manifest.shard_ids()):
        name = shard_id.hex()
        files = (folder / name[:2] / name for folder in places)
        file = next((file for file in files if file.is_file()), None)
        if file:
            found[index] = file.read_bytes()
    return found


def digest(text: str) -> bytes:
    value = bytes.fromhex(text.removeprefix("0x"))
    if len(value) != 32:
        raise ValueError("not 32 bytes")
    return value


def file_version(text: str) -> int:
    version = int(text)
    if not 1 <= version < 1 << 32:
        raise ValueError("not from 1 to 2^32 - 1")
    return version


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Rebuild a file of dstore from its shards, its record and the owner's key."
    )
    parser.add_argument("--owner-key-file", type=Path, required=True, help="64 hex digits; nobody else may read it")
    parser.add_argument("--ledger-id", type=digest, required=True, metavar="HEX")
    parser.add_argument("--version", type=file_version, default=1, help="of the file [default: 1]")
    parser.add_argument("--record", type=Path, required=True, help="file with the sealed record")
    parser.add_argument(
        "--shards", type=Path, required=True, action="append", help="`shards` folder of a node; may be repeated"
    )
    parser.add_argument("--path", type=os.fsencode, required=True, help="the file's path in dstore")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    try:
        owner, path = Owner.read(options.owner_key_file), check_path(options.path)
        record = options.record.read_bytes()
        manifest = open_file(owner, options.ledger_id, path, options.version, record)
        shards = find_shards(manifest, options.shards)
        plain = rebuild(owner, options.ledger_id, path, options.version, record, shards)
    except (Refused, OSError) as error:
        print(f"independent_reader: {error}", file=sys.stderr)
        return 1
    options.output.write_bytes(plain)
    return 0


if __name__ == "__main__":
    sys.exit(main())
