"""Paths, keys and ids: sections 1, 3 and 9 of docs/format.md. No secret shows in a repr."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from blake3 import blake3
from Crypto.Hash import keccak
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

GROUP_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
KEY_FILE_LIMIT = 4096
WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
"""Unicode's property White_Space; `str.strip` by itself takes four control characters more."""


class Refused(Exception):
    """An input is not what the document demands. The text begins with the document's word, where it has one."""


def check_path(path: bytes) -> str:
    """Section 1."""
    try:
        text = path.decode()
    except UnicodeDecodeError:
        raise Refused("path: not UTF-8") from None
    if not 1 <= len(path) <= 1024:
        raise Refused("path: length")
    if "\0" in text:
        raise Refused("path: a byte 0")
    if any(part in ("", ".", "..") for part in text.split("/")):
        raise Refused("path: an empty part, `.` or `..`")
    return text


def keccak256(data: bytes) -> bytes:
    return keccak.new(digest_bits=256, data=data).digest()


def kdf(purpose: str, material: bytes, length: int = 32) -> bytes:
    """Section 3: BLAKE3 in its key derivation mode."""
    return blake3(material, derive_key_context="dstore 2026-11 v1 " + purpose).digest(length)


def public_key(scalar: bytes, *, compressed: bool = True) -> bytes:
    """The point of a secp256k1 scalar as SEC 1 writes it: 33 bytes, or 65."""
    value = int.from_bytes(scalar, "big")
    if len(scalar) != 32 or not 1 <= value < GROUP_ORDER:
        raise Refused("key: not a scalar of secp256k1")
    form = PublicFormat.CompressedPoint if compressed else PublicFormat.UncompressedPoint
    return ec.derive_private_key(value, ec.SECP256K1()).public_key().public_bytes(Encoding.X962, form)


def address(uncompressed: bytes) -> bytes:
    """Section 2: the Ethereum address of a public key of 65 bytes."""
    return keccak256(uncompressed[1:])[-20:]


def transport_public_key(key: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw()


def first_scalar(purpose: str, material: bytes) -> bytes:
    """The KDF output for the first counter for which it is a scalar."""
    outputs = (kdf(purpose, material + counter.to_bytes(4, "big")) for counter in count())
    return next(output for output in outputs if 1 <= int.from_bytes(output, "big") < GROUP_ORDER)


def siv_seal(key: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """AES-256-SIV: SIV[16] || C."""
    return AESSIV(key).encrypt(plaintext, [associated])


def siv_open(key: bytes, sealed: bytes, associated: bytes, word: str) -> bytes:
    """What was sealed, or Refused with this word."""
    try:
        return AESSIV(key).decrypt(sealed, [associated])
    except InvalidTag:
        raise Refused(word) from None


@dataclass(frozen=True)
class Owner:
    """What derives from the owner key."""

    key: bytes = field(repr=False)
    id: bytes = field(init=False)
    root: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", address(public_key(self.key, compressed=False)))
        object.__setattr__(self, "root", kdf("owner root", self.key))

    @staticmethod
    def parse(text: str) -> Owner:
        """The text of an owner key file (section 9)."""
        digits = re.fullmatch("(?:0x)?([0-9a-fA-F]{64})", text.strip(WHITE_SPACE))
        if not digits:
            raise Refused("owner key: not 64 hex digits")
        return Owner(bytes.fromhex(digits[1]))

    @staticmethod
    def read(path: Path) -> Owner:
        """An owner key file, unless somebody else may look at it (section 9)."""
        with path.open("rb") as file:
            if os.name == "posix" and stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise Refused("owner key: group or others have access to the file")
            content = file.read(KEY_FILE_LIMIT + 1)
        if len(content) > KEY_FILE_LIMIT:
            raise Refused("owner key: the file is too long")
        try:
            return Owner.parse(content.decode())
        except UnicodeDecodeError:
            raise Refused("owner key: not 64 hex digits") from None

    def path_salt(self, path: str) -> bytes:
        return kdf("path", self.root + path.encode())

    def file_id(self, path: str) -> bytes:
        return keccak256(bytes(12) + self.id + self.path_salt(path))

    def record_key(self, file_id: bytes) -> bytes:
        return kdf("record key", self.root + file_id, 64)

    def transport_key(self, toward: bytes) -> bytes:
        key = bytearray(kdf("transport", self.root + toward))
        key[0] &= 0b1111_1000
        key[31] = key[31] & 0b0111_1111 | 0b0100_0000
        return bytes(key)

    def copy_authority(self, ledger: bytes, file_id: bytes, node: bytes) -> bytes:
        return first_scalar("copy", self.root + ledger + file_id + node)

    def copy_key(self, node: bytes) -> bytes:
        return kdf("copy key", self.root + node, 64)


@dataclass(frozen=True)
class Content:
    """What derives from a content key."""

    key: bytes = field(repr=False)

    @property
    def id(self) -> bytes:
        return kdf("content id", self.key)

    def segment_key(self, epoch: int) -> bytes:
        return kdf("segment key", kdf("file secret", self.key) + epoch.to_bytes(4, "big"), 64)

    def capability_key(self, node: bytes) -> bytes:
        return first_scalar("capability", self.key + node)

    def shard_id(self, node: bytes, index: int, generation: int) -> bytes:
        return shard_id(public_key(self.capability_key(node)), index, generation)


def shard_id(capability: bytes, index: int, generation: int) -> bytes:
    return kdf("shard id", capability + index.to_bytes(1, "big") + generation.to_bytes(4, "big"))


def copy_id(authority_public_key: bytes) -> bytes:
    return kdf("copy id", authority_public_key)


def network_id(label: str) -> bytes:
    return kdf("network", label.encode())
