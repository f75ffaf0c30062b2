"""A development chain as a process of its own: for tests of the ledger on Ethereum.

A test module says `pytest_plugins = ["anvil"]` and takes the fixture `anvil`.

PYTEST_DONT_REWRITE: it is imported by name before pytest takes it as a plugin.
"""

from __future__ import annotations

import json
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import dstore
import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "contracts" / "bin" / "anvil"
ETHER = 10**18


class Anvil:
    """A chain that makes a block of every transaction, at once. It ends with its `with` block."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [PROGRAM, "--port", "0", "--host", "127.0.0.1"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout
        lines = self._process.stdout
        listening = next((line for line in lines if line.startswith("Listening on ")), None)
        if listening is None:
            self._process.wait()
            pytest.fail("anvil ended early: run `npm ci --prefix contracts` first")
        self.url = "http://" + listening.removeprefix("Listening on ").strip()
        # It must never wait for a reader.
        self._reader = threading.Thread(target=lambda: [None for _ in lines], daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout
        self._process.stdout.close()

    def ask(self, method: str, *params: Any) -> Any:
        """Asks the chain itself."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(self.url, body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert "error" not in answer, f"{method}: {answer}"
        return answer["result"]

    def rich_owner(self) -> dstore.Owner:
        """A new owner, who has ether."""
        owner = dstore.Owner.generate()
        self.ask("anvil_setBalance", f"0x{owner.id}", hex(100 * ETHER))
        return owner

    def account(self, owner: dstore.Owner, **options: Any) -> dstore.EthereumAccount:
        """The owner's account here."""
        return dstore.EthereumAccount(owner, **{"chain": "local", "rpc_url": self.url, "batch_wait": 0.01, **options})


@pytest.fixture(scope="session")
def anvil() -> Iterator[Anvil]:
    """One chain for all tests: each has an owner and a contract of its own."""
    with Anvil() as anvil:
        yield anvil
