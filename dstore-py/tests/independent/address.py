"""The text that names a registry: section 8.1 of docs/wire.md."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from .keys import Refused
from .manifest import is_endpoint


@dataclass(frozen=True)
class RegistryAddress:
    noise_key: bytes
    id: bytes
    endpoint: str

    @staticmethod
    def parse(text: str) -> RegistryAddress:
        parts = re.fullmatch("dsr1:([a-z2-7]{84})@(.*)", text, re.DOTALL)
        if not parts:
            raise Refused("address: prefix or keys")
        keys, endpoint = parts.groups()
        decoded = base64.b32decode(keys.upper() + "====")
        if base64.b32encode(decoded).decode().rstrip("=").lower() != keys:
            raise Refused("address: the unused bits of the last digit are not zero")
        if not is_endpoint(endpoint):
            raise Refused("address: endpoint")
        return RegistryAddress(decoded[:32], decoded[32:], endpoint)
