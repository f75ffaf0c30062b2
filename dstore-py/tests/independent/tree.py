"""Trees and proofs: sections 6.3 and 6.4 of docs/format.md. The package `blake3` shows no chaining values, so BLAKE3 is here too."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from blake3 import blake3

from .keys import Refused
from .manifest import BLOCK

CHUNK = 1024
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8
IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
MASK = 0xFFFF_FFFF
QUARTERS = (
    *((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)),
    *((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)),
)


def compress(value: Sequence[int], message: bytes, counter: int, flags: int) -> tuple[int, ...]:
    """BLAKE3's compression function, of which a chaining value is the first half."""
    words = list(struct.unpack("<16I", message.ljust(64, b"\0")))
    state = [*value, *IV[:4], counter & MASK, counter >> 32, len(message), flags]
    for _ in range(7):
        for quarter, (a, b, c, d) in enumerate(QUARTERS):
            x, y = words[2 * quarter], words[2 * quarter + 1]
            for word, first, second in ((x, 16, 12), (y, 8, 7)):
                state[a] = (state[a] + state[b] + word) & MASK
                mixed = state[d] ^ state[a]
                state[d] = (mixed >> first | mixed << (32 - first)) & MASK
                state[c] = (state[c] + state[d]) & MASK
                mixed = state[b] ^ state[c]
                state[b] = (mixed >> second | mixed << (32 - second)) & MASK
        words = [words[at] for at in PERMUTATION]
    return tuple(state[at] ^ state[at + 8] for at in range(8))


def packed(value: Sequence[int]) -> bytes:
    return struct.pack("<8I", *value)


def parent(left: bytes, right: bytes, flags: int = 0) -> bytes:
    return packed(compress(IV, left + right, 0, PARENT | flags))


def chunk_value(chunk: bytes, counter: int) -> bytes:
    value: tuple[int, ...] = IV
    for at in range(0, max(1, len(chunk)), 64):
        flags = (CHUNK_START if at == 0 else 0) | (CHUNK_END if at + 64 >= len(chunk) else 0)
        value = compress(value, chunk[at : at + 64], counter, flags)
    return packed(value)


def left_half(count: int) -> int:
    """The largest power of two below `count`, which is above 1."""
    return 1 << (count - 1).bit_length() - 1


def fold(values: Sequence[bytes]) -> bytes:
    """The value of the subtree over these leaves."""
    if len(values) == 1:
        return values[0]
    half = left_half(len(values))
    return parent(fold(values[:half]), fold(values[half:]))


def leaf(block: bytes, index: int) -> bytes:
    """The chaining value of a block."""
    chunks = [block[at : at + CHUNK] for at in range(0, len(block), CHUNK)]
    return fold([chunk_value(chunk, BLOCK // CHUNK * index + at) for at, chunk in enumerate(chunks)])


def leaves(shard: bytes) -> list[bytes]:
    if not shard:
        return [bytes(32)]
    return [leaf(shard[at : at + BLOCK], at // BLOCK) for at in range(0, len(shard), BLOCK)]


def values(shard: bytes) -> list[bytes]:
    """Each leaf, and after it every complete subtree that ends with it."""
    listed: list[bytes] = []
    own = leaves(shard)
    for end in range(1, len(own) + 1):
        width = 1
        while end % width == 0:
            listed.append(fold(own[end - width : end]))
            width *= 2
    return listed


def position(first: int, height: int) -> int:
    """Where the subtree of 2^height leaves from leaf `first` on stands in that list."""
    return 2 * first - first.bit_count() + (1 << height + 1) - 2


def blocks_of(length: int) -> int:
    return max(1, -(-length // BLOCK))


def check_range(length: int, first: int, count: int) -> None:
    if count < 1 or first + count > blocks_of(length):
        raise Refused("range")


def prove(shard: bytes, first: int, count: int) -> list[bytes]:
    """The proof of these blocks."""
    check_range(len(shard), first, count)
    own = leaves(shard)

    def walk(start: int, end: int) -> Iterator[bytes]:
        if end - start == 1 or end <= first or start >= first + count:
            yield fold(own[start:end])
        else:
            half = left_half(end - start)
            yield from walk(start, start + half)
            yield from walk(start + half, end)

    return [] if len(own) == 1 else list(walk(0, len(own)))


def proved_leaves(root: bytes, length: int, first: int, count: int, proof: Sequence[bytes]) -> list[bytes]:
    """The leaves of these blocks, if the proof shows that they belong to the root; of a shard of one block the root itself."""
    check_range(length, first, count)
    total = blocks_of(length)
    if total == 1:
        if proof:
            raise Refused("proof: a value where none is needed")
        return [root]
    rest = iter(proof)
    found: list[bytes] = []

    def walk(start: int, end: int, flags: int) -> bytes:
        inside = first < end and start < first + count
        if end - start > 1 and inside:
            half = left_half(end - start)
            return parent(walk(start, start + half, 0), walk(start + half, end, 0), flags)
        value = next(rest, None)
        if value is None:
            raise Refused("proof: too short")
        if inside:
            found.append(value)
        return value

    if walk(0, total, ROOT) != root:
        raise Refused("proof: another root")
    if next(rest, None) is not None:
        raise Refused("proof: too long")
    return found


def check_block(block: bytes, index: int, length: int, first: int, proved: Sequence[bytes]) -> None:
    """Whether this is the block of a shard of `length` bytes whose leaves from `first` on were proved."""
    if not first <= index < first + len(proved):
        raise Refused("block: it was not proved")
    value = blake3(block).digest() if blocks_of(length) == 1 else leaf(block, index)
    if value != proved[index - first]:
        raise Refused("block: another leaf")


def root(own: Sequence[bytes]) -> bytes:
    """The root over these leaves, of which there are at least two."""
    half = left_half(len(own))
    return parent(fold(own[:half]), fold(own[half:]), ROOT)
