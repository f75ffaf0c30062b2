"""The text that names a registry: section 8.1 of docs/wire.md."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from .keys import Refused
from .manifest import is_endpoint

DIGITS = 84


@dataclass(frozen=True)
class RegistryAddress:
    noise_key: bytes
    id: bytes
    endpoint: str

    @staticmethod
    def parse(text: str) -> RegistryAddress:
        keys, _, endpoint = text.removeprefix("dsr1:").partition("@")
        if not text.startswith("dsr1:"):
            raise Refused("address: prefix")
        if len(keys) != DIGITS or not all(digit in "abcdefghijklmnopqrstuvwxyz234567" for digit in keys):
            raise Refused("address: keys")
        decoded = base64.b32decode(keys.upper() + "====")
        if base64.b32encode(decoded).decode().rstrip("=").lower() != keys:
            raise Refused("address: the unused bits of the last digit are not zero")
        if not is_endpoint(endpoint):
            raise Refused("address: endpoint")
        return RegistryAddress(decoded[:32], decoded[32:], endpoint)
