"""A registry and storage nodes as processes of their own, and a client's folder: for tests that use the real `dstore-cli`.

A test module says `pytest_plugins = ["network"]` and takes the fixture `network`, or makes a `Network` with nodes of its own.

PYTEST_DONT_REWRITE: it is imported by name before pytest takes it as a plugin.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import pytest

HANGS = 300
"""Seconds after which a process that does not end is taken for one that never will."""


class Server:
    """`registry run` or `node run`, which is ready."""

    def __init__(self, arguments: Sequence[str | Path], home: Path, dir: Path, log: IO[bytes]) -> None:
        self.dir = dir
        self.process = subprocess.Popen(
            [*arguments, "--json", "--listen", "127.0.0.1:0", "--dir", dir],
            env=environment(home),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
        )

    def wait_until_ready(self) -> None:
        """Reads the line that says so; a node prints it when its registry has accepted it."""
        assert self.process.stdout
        guard = threading.Timer(HANGS, self.process.kill)
        guard.start()
        try:
            line = self.process.stdout.readline()
        finally:
            guard.cancel()
        assert line, f"{self.dir.name} ended early with {self.process.wait()}; its log is beside its folder"
        ready = json.loads(line)
        assert ready["schema"] == "dstore.ready/1"
        self.id: str = ready["id"]
        self.address: str = ready["address"]

    def stop(self) -> int:
        """Ends it with SIGTERM, and gives its exit code."""
        self.process.terminate()
        return self.process.wait(HANGS)

    def kill(self) -> None:
        """Ends it with SIGKILL, if it runs."""
        self.process.kill()
        self.process.wait()

    @property
    def shards(self) -> Path:
        """Where a node keeps the shards that are files: `shards/<first 2 hex digits>/<shard id in hex>`."""
        return self.dir / "shards"


class Network:
    """A registry, nodes and a client below one folder. It ends what it started when the `with` block ends."""

    def __init__(self, dstore_cli: Path, home: Path, nodes: int = 3, node_options: Sequence[str] = ()) -> None:
        self.binary = dstore_cli
        self.home = home
        self.client = home / "client"
        self.nodes: list[Server] = []
        self._started: list[Server] = []
        self._count = nodes
        self._node_options = node_options

    def __enter__(self) -> Self:
        try:
            self.registry = self._serve("registry")
            self.registry.wait_until_ready()
            self.nodes = [self.start_node(*self._node_options) for _ in range(self._count)]
            self.run("init", "--registry", self.registry.address)
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            for server in reversed(self._started):
                server.process.terminate()
            for server in self._started:
                server.process.wait(HANGS)
        finally:
            self._kill()

    def start_node(self, *options: str) -> Server:
        """One node more, which the registry has accepted."""
        node = self._serve("node", "--registry", self.registry.address, "--free-floor", "0", *options)
        node.wait_until_ready()
        return node

    def run(self, *arguments: str | Path, input: bytes = b"", exit: int = 0) -> bytes:
        """What a command of the client prints; it must end with this exit code."""
        ended = subprocess.run(
            [self.binary, *arguments],
            env={**environment(self.home), "DSTORE_DIR": str(self.client)},
            cwd=self.home,
            input=input,
            capture_output=True,
            check=False,
            timeout=HANGS,
        )
        assert ended.returncode == exit, f"{arguments}: {ended.returncode}\n{ended.stderr.decode(errors='replace')}"
        return ended.stdout

    def json(self, *arguments: str | Path, exit: int = 0) -> Any:
        """The last line of JSON that a command prints: its result."""
        return json.loads(self.run(*arguments, "--json", exit=exit).splitlines()[-1])

    def put(self, path: str, content: bytes, *options: str) -> Any:
        """Stores bytes, and gives the result that the command prints."""
        source = self.home / "source"
        source.write_bytes(content)
        return self.json("put", source, path, *options)

    def _serve(self, role: str, *options: str) -> Server:
        name = f"{role}-{len(self._started)}"
        with (self.home / f"{name}.log").open("wb") as log:
            server = Server([self.binary, role, "run", *options], self.home, self.home / name, log)
        self._started.append(server)
        return server

    def _kill(self) -> None:
        for server in self._started:
            server.kill()
            assert server.process.stdout
            server.process.stdout.close()


def environment(home: Path) -> dict[str, str]:
    """Nothing of this machine's own settings."""
    return {"HOME": str(home), "PATH": os.environ.get("PATH", "")}


@pytest.fixture(scope="session")
def dstore_cli() -> Path:
    """The binary that the environment variable TEST_DSTORE_CLI names."""
    named = os.environ.get("TEST_DSTORE_CLI")
    if not named or not Path(named).is_file():
        pytest.fail("set TEST_DSTORE_CLI to the path of the binary `dstore-cli`: these tests run it")
    return Path(named).resolve()


@pytest.fixture(scope="module")
def network(dstore_cli: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Three nodes with the settings that are usual."""
    with Network(dstore_cli, tmp_path_factory.mktemp("network")) as network:
        yield network
