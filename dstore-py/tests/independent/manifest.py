"""Lengths, placement and manifests: sections 4.1, 4.2, 6.1, 7 and 8.1 of docs/format.md, and section 5 of docs/wire.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from .keys import Content, Refused, check_path

BLOCK = 16_384
UNIT = 64
SIV = 16
MOST_SEGMENTS = 1 << 40
MOST_SHARDS = 32
PADDINGS = ("none", "padme")

T = TypeVar("T")


def up(number: int, step: int) -> int:
    return -(-number // step) * step


def padded_length(size: int, padding: int) -> int:
    """Section 4.1."""
    if padding == PADDINGS.index("none") or size < 2:
        return size
    exponent = size.bit_length() - 1
    zeros = exponent - min(exponent.bit_length(), exponent)
    padded = up(size, 1 << zeros)
    return padded if padded < 1 << 64 else size


@dataclass(frozen=True)
class Lengths:
    """How a content is cut (sections 4.2 and 6.1). All lengths are bytes."""

    k: int
    m: int
    padded: int

    def __post_init__(self) -> None:
        if self.k < 1 or self.m < 1 or self.k + self.m > MOST_SHARDS:
            raise Refused("scheme: k or m is 0, or there are more than 32 shards")
        if self.segments > MOST_SEGMENTS:
            raise Refused("lengths: more than 2^40 segments")

    @property
    def full_segment(self) -> int:
        return self.k * BLOCK - SIV

    @property
    def segments(self) -> int:
        return max(1, -(-self.padded // self.full_segment))

    def segment(self, index: int) -> int:
        """Plaintext of this segment."""
        return min(self.full_segment, self.padded - index * self.full_segment)

    def block(self, index: int) -> int:
        """Each block of this stripe."""
        return block_length(self.k, self.segment(index) + SIV)

    @property
    def shard(self) -> int:
        return (self.segments - 1) * BLOCK + self.block(self.segments - 1)


def block_length(k: int, sealed: int) -> int:
    return up(-(-sealed // k), UNIT)


def tolerance(holders: Sequence[object], m: int) -> int:
    """Section 8.1: how many nodes may vanish, whichever; `holders` has the node of each shard."""
    lost = nodes = 0
    for _, shards in Counter(holders).most_common():
        lost += shards
        if lost > m:
            break
        nodes += 1
    return nodes


def is_endpoint(text: str) -> bool:
    """Section 6.1 of docs/wire.md."""
    host, colon, port = text.rpartition(":")
    return (
        len(text) <= 64
        and all("\x21" <= character <= "\x7e" for character in text)
        and bool(host and colon)
        and all(digit in "0123456789" for digit in port)
        and port[:1] not in ("", "0")
        and int(port) <= 65_535
    )


class Decoder:
    """Section 5 of docs/wire.md: each value has one encoding, and nothing else is accepted."""

    def __init__(self, encoded: bytes) -> None:
        self._rest = memoryview(encoded)

    def bytes(self, length: int) -> bytes:
        if length > len(self._rest):
            raise Refused("malformed: it ends too early")
        taken, self._rest = self._rest[:length], self._rest[length:]
        return bytes(taken)

    def u8(self) -> int:
        return self.bytes(1)[0]

    def varint(self, bits: int) -> int:
        value = 0
        for shift in range(0, bits, 7):
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if byte == 0 and shift > 0:
                    raise Refused("malformed: a number is longer than needed")
                break
        else:
            raise Refused("malformed: a number is too long")
        if value >> bits:
            raise Refused("malformed: a number is too large")
        return value

    def text(self) -> str:
        encoded = self.bytes(self.varint(64))
        try:
            return encoded.decode()
        except UnicodeDecodeError:
            raise Refused("malformed: not UTF-8") from None

    def list(self, item: Callable[[Decoder], T]) -> list[T]:
        count = self.varint(64)
        if count > len(self._rest):
            raise Refused("malformed: it ends too early")
        return [item(self) for _ in range(count)]

    def end(self) -> None:
        if self._rest:
            raise Refused("malformed: bytes are left over")


@dataclass(frozen=True)
class Shard:
    root: bytes
    node: int
    generation: int

    @staticmethod
    def decode(encoded: Decoder) -> Shard:
        return Shard(encoded.bytes(32), encoded.u8(), encoded.varint(32))


@dataclass(frozen=True)
class Node:
    id: bytes
    noise_key: bytes
    seq: int
    hint: str

    @staticmethod
    def decode(encoded: Decoder) -> Node:
        return Node(encoded.bytes(20), encoded.bytes(32), encoded.varint(64), encoded.text())


@dataclass(frozen=True)
class Manifest:
    """Section 7: what a file is made of. Fields are in the order of their encoding."""

    content_key: bytes = field(repr=False)
    size: int
    padded: int
    suite: int
    codec: int
    k: int
    m: int
    padding: int
    shard_len: int
    shards: list[Shard]
    nodes: list[Node]
    content_hash: bytes
    created: int
    path: str
    attributes: list[tuple[str, str]]

    @staticmethod
    def decode(encoded: bytes) -> Manifest:
        """A manifest that is valid."""
        rest = Decoder(encoded)
        manifest = Manifest(
            content_key=rest.bytes(32),
            size=rest.varint(64),
            padded=rest.varint(64),
            suite=rest.u8(),
            codec=rest.u8(),
            k=rest.u8(),
            m=rest.u8(),
            padding=rest.varint(32),
            shard_len=rest.varint(64),
            shards=rest.list(Shard.decode),
            nodes=rest.list(Node.decode),
            content_hash=rest.bytes(32),
            created=rest.varint(64),
            path=rest.text(),
            attributes=rest.list(lambda pair: (pair.text(), pair.text())),
        )
        rest.end()
        manifest._check_decodes()
        manifest._check_rules()
        return manifest

    def _check_decodes(self) -> None:
        """Section 7.2."""
        if self.k < 1 or self.m < 1 or self.k + self.m > MOST_SHARDS:
            raise Refused("malformed: scheme")
        if self.padding >= len(PADDINGS):
            raise Refused("malformed: padding")
        try:
            check_path(self.path.encode())
        except Refused as error:
            raise Refused(f"malformed: {error}") from None

    def _check_rules(self) -> None:
        """Section 7.3, in its order."""
        holders = [shard.node for shard in self.shards]
        attributes = [text.encode() for pair in self.attributes for text in pair]
        rules: list[tuple[str, Callable[[], bool]]] = [
            ("suite", lambda: self.suite == 1),
            ("codec", lambda: self.codec == 1),
            ("padded length", lambda: self.padded == padded_length(self.size, self.padding)),
            ("shard length", lambda: self._shard_length_is_right()),
            ("number of shards", lambda: len(self.shards) == self.k + self.m),
            ("number of nodes", lambda: 1 <= len(self.nodes) <= MOST_SHARDS),
            ("node index", lambda: all(holder < len(self.nodes) for holder in holders)),
            (
                "a node twice, or unused",
                lambda: (
                    set(holders) == set(range(len(self.nodes))) and len({n.id for n in self.nodes}) == len(self.nodes)
                ),
            ),
            ("address of a node", lambda: all(is_endpoint(node.hint) for node in self.nodes)),
            ("tolerance", lambda: tolerance(holders, self.m) >= 1),
            ("attributes", lambda: len(self.attributes) <= 64 and sum(map(len, attributes)) <= 2048),
        ]
        for word, holds in rules:
            if not holds():
                raise Refused(f"manifest: {word}")

    def _shard_length_is_right(self) -> bool:
        try:
            return self.shard_len == self.lengths.shard
        except Refused:
            return False

    @property
    def lengths(self) -> Lengths:
        return Lengths(self.k, self.m, self.padded)

    @property
    def tolerates(self) -> int:
        return tolerance([shard.node for shard in self.shards], self.m)

    def shard_ids(self) -> list[bytes]:
        """The address of each shard at its node (section 3)."""
        content = Content(self.content_key)
        ids = (
            content.shard_id(self.nodes[shard.node].id, index, shard.generation)
            for index, shard in enumerate(self.shards)
        )
        return list(ids)
