"""Signatures: section 2 of docs/format.md."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from .keys import GROUP_ORDER, Refused, address, keccak256, public_key

FIELD = 2**256 - 2**32 - 977
STATEMENTS = ("node-record", "receipt", "token", "put", "delete", "copy", "copy-query", "invite")

Point = tuple[int, int] | None
GENERATOR: Point = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)


def digest(statement: str, network_id: bytes, text: bytes) -> bytes:
    if statement not in STATEMENTS:
        raise ValueError(f"no such statement: {statement}")
    return keccak256(f"dstore/sig/{statement}/v1".encode().ljust(32, b"\0") + network_id + text)


def add(a: Point, b: Point) -> Point:
    if a is None or b is None:
        return b if a is None else a
    if a[0] == b[0]:
        if (a[1] + b[1]) % FIELD == 0:
            return None
        slope = 3 * a[0] * a[0] * pow(2 * a[1], -1, FIELD)
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, FIELD)
    x = (slope * slope - a[0] - b[0]) % FIELD
    return x, (slope * (a[0] - x) - a[1]) % FIELD


def times(scalar: int, point: Point) -> Point:
    result: Point = None
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def recover(signature: bytes, signed: bytes) -> bytes:
    """The public key, 65 bytes, that made this signature of a digest."""
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    if len(signature) != 65 or signature[64] > 1:
        raise Refused("signature: v or length")
    if not 1 <= r < GROUP_ORDER or not 1 <= s <= (GROUP_ORDER - 1) // 2:
        raise Refused("signature: r or s")
    square = (pow(r, 3, FIELD) + 7) % FIELD
    y = pow(square, (FIELD + 1) // 4, FIELD)
    if y * y % FIELD != square:
        raise Refused("signature: no point has this r")
    if y % 2 != signature[64]:
        y = FIELD - y
    hashed, inverse = int.from_bytes(signed, "big"), pow(r, -1, GROUP_ORDER)
    key = add(times(s * inverse % GROUP_ORDER, (r, y)), times(-hashed * inverse % GROUP_ORDER, GENERATOR))
    if key is None:
        raise Refused("signature: no key")
    return b"\x04" + key[0].to_bytes(32, "big") + key[1].to_bytes(32, "big")


def compressed(key: bytes) -> bytes:
    return bytes([2 + key[64] % 2]) + key[1:33]


def check(signature: bytes, statement: str, network_id: bytes, text: bytes, signer: bytes) -> None:
    """Whether the signer, an address or a compressed public key, made this."""
    key = recover(signature, digest(statement, network_id, text))
    if signer != (address(key) if len(signer) == 20 else compressed(key)):
        raise Refused("signature: another signer")


def sign(secret: bytes, statement: str, network_id: bytes, text: bytes) -> bytes:
    """The signature that RFC 6979 gives."""
    own = public_key(secret, compressed=False)
    signed = digest(statement, network_id, text)
    key = ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256K1())
    method = ec.ECDSA(Prehashed(hashes.SHA256()), deterministic_signing=True)
    r, s = decode_dss_signature(key.sign(signed, method))
    numbers = r.to_bytes(32, "big") + min(s, GROUP_ORDER - s).to_bytes(32, "big")
    return next(whole for whole in (numbers + b"\0", numbers + b"\1") if recover(whole, signed) == own)
