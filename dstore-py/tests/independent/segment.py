"""Segments: section 4.3 of docs/format.md."""

from __future__ import annotations

from .keys import Content, siv_open, siv_seal
from .manifest import SIV

SUITE = 1
SEGMENTS_UNDER_A_KEY_LOG2 = 20


def associated(content: Content, index: int, length: int, *, last: bool) -> bytes:
    """The header of 64 bytes."""
    front = b"dstore/seg/v1".ljust(16, b"\0") + content.id
    return front + index.to_bytes(8, "big") + length.to_bytes(4, "big") + bytes([last, SUITE, 0, 0])


def open_segment(content: Content, index: int, sealed: bytes, *, last: bool) -> bytes:
    header = associated(content, index, max(0, len(sealed) - SIV), last=last)
    return siv_open(content.segment_key(index >> SEGMENTS_UNDER_A_KEY_LOG2), sealed, header, "segment: seal")


def seal_segment(content: Content, index: int, plaintext: bytes, *, last: bool) -> bytes:
    header = associated(content, index, len(plaintext), last=last)
    return siv_seal(content.segment_key(index >> SEGMENTS_UNDER_A_KEY_LOG2), plaintext, header)
