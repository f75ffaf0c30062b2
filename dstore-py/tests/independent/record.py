"""Records and their copies: sections 5 and 13.1 of docs/format.md."""

from __future__ import annotations

from dataclasses import dataclass

from .keys import Owner, Refused, siv_open, siv_seal
from .manifest import SIV, Manifest, up

STEP = 128
RECORD_LIMIT = 4096
COPY_LIMIT = 4224
FRONT = 1 + SIV
VERSION = 1
NEWER = "unknown version, made by a newer dstore;"
PUT, RENAMED_HERE, REMOVED, RENAMED_AWAY = range(4)


@dataclass(frozen=True)
class Place:
    """Which version of which file on which ledger."""

    ledger: bytes
    file: bytes
    version: int

    def associated(self, owner: Owner) -> bytes:
        return b"dstore/record/v1" + self.ledger + self.file + self.version.to_bytes(4, "big") + owner.id


def open_record(owner: Owner, place: Place, record: bytes) -> Manifest:
    """The manifest in a record, which is valid; whoever asked for a path must still compare it."""
    if not record:
        raise Refused("record: empty")
    if record[0] != VERSION:
        raise Refused(f"record: {NEWER}")
    if len(record) > RECORD_LIMIT or len(record) % STEP:
        raise Refused("record: length")
    plaintext = siv_open(owner.record_key(place.file), record[1:], place.associated(owner), "record: seal")
    length = int.from_bytes(plaintext[:2], "big")
    manifest, padding = plaintext[2 : 2 + length], plaintext[2 + length :]
    if len(manifest) != length:
        raise Refused("record: manifest length")
    if len(record) != up(FRONT + 2 + length, STEP) or any(padding):
        raise Refused("record: padding")
    try:
        return Manifest.decode(manifest)
    except Refused as error:
        if str(error).startswith("malformed"):
            raise Refused("record: manifest") from error
        raise


def seal_record(owner: Owner, place: Place, manifest: bytes) -> bytes:
    """The record of an encoded manifest."""
    length = up(FRONT + 2 + len(manifest), STEP)
    if length > RECORD_LIMIT:
        raise Refused("record: length")
    plaintext = (len(manifest).to_bytes(2, "big") + manifest).ljust(length - FRONT, b"\0")
    return bytes([VERSION]) + siv_seal(owner.record_key(place.file), plaintext, place.associated(owner))


@dataclass(frozen=True)
class Copy:
    """What a node's copy says."""

    place: Place
    kind: int
    record: bytes


def open_copy(owner: Owner, node: bytes, copy_id: bytes, version: int, body: bytes) -> Copy:
    """The copy that a node keeps under this id as this version."""
    if len(body) % STEP or not STEP <= len(body) <= COPY_LIMIT:
        raise Refused("copy: length")
    if body[0] != VERSION:
        raise Refused(f"copy: {NEWER}")
    associated = b"dstore/copy/v1".ljust(16, b"\0") + copy_id + version.to_bytes(4, "big")
    plaintext = siv_open(owner.copy_key(node), body[1:], associated, "copy: seal")
    place = Place(plaintext[:32], plaintext[32:64], int.from_bytes(plaintext[64:68], "big"))
    kind, length = plaintext[68], int.from_bytes(plaintext[69:71], "big")
    record, padding = plaintext[71 : 71 + length], plaintext[71 + length :]
    if place.version != version:
        raise Refused("copy: version")
    if kind not in (PUT, RENAMED_HERE, REMOVED, RENAMED_AWAY):
        raise Refused("copy: kind")
    most = RECORD_LIMIT if kind in (PUT, RENAMED_HERE) else 0
    if len(record) != length or not min(1, most) <= length <= most:
        raise Refused("copy: record length")
    if len(body) != up(FRONT + 71 + length, STEP) or any(padding):
        raise Refused("copy: padding")
    return Copy(place, kind, record)
