"""Codec 1, Reed-Solomon over GF(2^16): section 6.2 of docs/format.md, as a matrix.

A block is turned into two long strings, one of the low and one of the high bytes of its words. Multiplying by a constant is
linear, so it is four translations of bytes and two exclusive ors, whatever the length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from operator import xor

from .keys import Refused

POLYNOMIAL = 0x1_002D
BASIS = (
    *(0x0001, 0xACCA, 0x3C0E, 0x163E, 0xC582, 0xED2E, 0x914C, 0x4012),
    *(0x6C98, 0x10D8, 0x6A72, 0xB900, 0xFDB8, 0xFB34, 0xFF38, 0x991E),
)


def spanned(constants: Sequence[int]) -> list[int]:
    """At each index the exclusive or of the constants whose bits are set in it."""
    values = [0]
    for constant in constants:
        values += [value ^ constant for value in values]
    return values


ELEMENT = spanned(BASIS)
WORD = [0] * len(ELEMENT)
for _word, _element in enumerate(ELEMENT):
    WORD[_element] = _word


def multiply(a: int, b: int) -> int:
    """The product of two words."""
    left, right, product = ELEMENT[a], ELEMENT[b], 0
    while right:
        if right & 1:
            product ^= left
        right >>= 1
        left <<= 1
        if left >> 16:
            left ^= POLYNOMIAL
    return WORD[product]


@cache
def inverse(word: int) -> int:
    """1 / word: the 2^16 - 2nd power."""
    if word == 0:
        raise ZeroDivisionError("0 has no inverse")
    power, result = word, 1
    for _ in range(15):
        power = multiply(power, power)
        result = multiply(result, power)
    return result


def power_of_two(number: int) -> int:
    """The least one that is not below."""
    return 1 << (number - 1).bit_length()


@cache
def coefficients(k: int, m: int) -> tuple[tuple[int, ...], ...]:
    """c(j, i), row j, column i."""
    wide_k, wide_m = power_of_two(k), power_of_two(m)

    def product(point: int, own: int, points: int) -> int:
        result = 1
        for other in range(points):
            if other != own:
                result = multiply(result, multiply(point ^ other, inverse(own ^ other)))
        return result

    if wide_k >= wide_m:
        return tuple(tuple(product(wide_m + i, j, wide_m) for i in range(k)) for j in range(m))
    return tuple(tuple(product(wide_k + j, i, wide_k) for i in range(k)) for j in range(m))


@dataclass(frozen=True)
class Words:
    """The words of a block or of a whole shard: their low bytes and their high bytes."""

    low: bytes
    high: bytes

    @staticmethod
    def of(block: bytes) -> Words:
        low, high = bytearray(), bytearray()
        for at in range(0, len(block), 64):
            low += block[at : at + 32]
            high += block[at + 32 : at + 64]
        return Words(bytes(low), bytes(high))

    def bytes(self) -> bytes:
        units = range(0, len(self.low), 32)
        return b"".join(self.low[at : at + 32] + self.high[at : at + 32] for at in units)

    def times(self, word: int) -> Words:
        low_low, low_high, high_low, high_high = tables(word)
        return Words(
            exclusive_or(self.low.translate(low_low), self.high.translate(high_low)),
            exclusive_or(self.low.translate(low_high), self.high.translate(high_high)),
        )

    def __xor__(self, other: Words) -> Words:
        return Words(exclusive_or(self.low, other.low), exclusive_or(self.high, other.high))


def exclusive_or(a: bytes, b: bytes) -> bytes:
    return (int.from_bytes(a, "little") ^ int.from_bytes(b, "little")).to_bytes(len(a), "little")


@cache
def tables(word: int) -> tuple[bytes, bytes, bytes, bytes]:
    """What a low byte adds to the low and to the high byte of a product, and what a high byte adds to them."""
    low = spanned([multiply(word, 1 << bit) for bit in range(8)])
    high = spanned([multiply(word, 1 << bit) for bit in range(8, 16)])
    byte = 0xFF
    return (
        bytes(value & byte for value in low),
        bytes(value >> 8 for value in low),
        bytes(value & byte for value in high),
        bytes(value >> 8 for value in high),
    )


def combine(row: Sequence[int], blocks: Sequence[Words]) -> Words:
    return reduce(xor, (block.times(word) for word, block in zip(row, blocks, strict=True)))


def parity(data: Sequence[bytes], m: int) -> list[bytes]:
    """The m parity blocks of k data blocks; as well of several stripes that stand one after another."""
    blocks = [Words.of(block) for block in data]
    return [combine(row, blocks).bytes() for row in coefficients(len(data), m)]


def rebuild(held: Mapping[int, bytes], k: int, m: int) -> list[bytes]:
    """The k data blocks, from any k blocks by their index."""
    if len(held) < k:
        raise Refused(f"shards: {len(held)} are there, {k} are needed")
    chosen = sorted(held)[:k]
    unit = [[int(row == column) for column in range(k)] for row in range(k)]
    rows = [unit[index] if index < k else list(coefficients(k, m)[index - k]) for index in chosen]
    blocks = [Words.of(held[index]) for index in chosen]
    inverted = invert(rows)
    return [held[index] if index in held else combine(inverted[index], blocks).bytes() for index in range(k)]


def invert(matrix: list[list[int]]) -> list[list[int]]:
    """Gauss and Jordan."""
    size = len(matrix)
    rows = [row + [int(at == column) for column in range(size)] for at, row in enumerate(matrix)]
    for column in range(size):
        pivot = next(at for at in range(column, size) if rows[at][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        factor = inverse(rows[column][column])
        rows[column] = [multiply(factor, word) for word in rows[column]]
        for at in range(size):
            factor = rows[at][column]
            if at != column and factor:
                rows[at] = [a ^ multiply(factor, b) for a, b in zip(rows[at], rows[column], strict=True)]
    return [row[size:] for row in rows]
