"""What the behaviour tests start from: a cluster in memory, its client, and one way to call both kinds of methods."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dstore
import dstore.testing
import hypothesis
import pytest

SEED = 5
TESTS = Path(__file__).parent

hypothesis.settings.register_profile(
    "dstore",
    deadline=None,
    database=None,
    print_blob=True,
    max_examples=int(os.environ.get("DSTORE_EXAMPLES", "25")),
    # What fixtures give is the same for all examples: none of them depends on what an earlier one stored.
    suppress_health_check=[
        hypothesis.HealthCheck.function_scoped_fixture,
        hypothesis.HealthCheck.too_slow,
        hypothesis.HealthCheck.data_too_large,
        hypothesis.HealthCheck.differing_executors,
    ],
)
hypothesis.settings.load_profile("dstore")

CALLED: set[tuple[str, str]] = set()
"""The twins that were called for asyncio: class and the name of the method for blocking callers."""


HOUR = timedelta(hours=1)


def is_hex(text: str, length: int) -> bool:
    return re.fullmatch(f"[0-9a-f]{{{length}}}", text) is not None


def noise(length: int, seed: int = SEED) -> bytes:
    """Bytes that nothing can compress, the same at each run."""
    return random.Random(seed).randbytes(length)


class Call:
    """Calls a method and waits: the one for blocking callers, or its twin on an event loop."""

    def __init__(self, runner: asyncio.Runner | None) -> None:
        self._runner = runner

    @property
    def is_async(self) -> bool:
        return self._runner is not None

    def __call__(self, method: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
        if self._runner is None:
            return method(*args, **options)
        return self.run(self._twin(method, f"{method.__name__}_async"), *args, **options)

    def run(self, method: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
        """Calls on the event loop, and awaits what that gives."""

        async def called() -> Any:
            return await method(*args, **options)

        assert self._runner
        return self._runner.run(called())

    def each(self, items: Any) -> list[Any]:
        """All that a loop over `items` gives."""
        if self._runner is None:
            return list(items)
        self._twin(items.__iter__, "__aiter__")

        async def looped() -> list[Any]:
            return [item async for item in items]

        return self._runner.run(looped())

    @contextlib.contextmanager
    def within(self, manager: Any) -> Iterator[Any]:
        """A `with` block, or an `async with`."""
        if self._runner is None:
            with manager as entered:
                yield entered
            return
        enter = self._twin(manager.__enter__, "__aenter__")
        leave = self._twin(manager.__exit__, "__aexit__")
        entered = self.run(enter)
        try:
            yield entered
        except BaseException as raised:
            if not self.run(leave, type(raised), raised, raised.__traceback__):
                raise
        else:
            self.run(leave, None, None, None)

    def open(self, client: dstore.Client, path: str, mode: str = "rb", **options: Any) -> Any:
        """`Client.open` without a buffer, which is what asyncio gets."""
        if self._runner is None:
            options["buffering"] = 0
        return self(client.open, path, mode, **options)

    def _twin(self, method: Callable[..., Any], name: str) -> Callable[..., Any]:
        owner = method.__self__  # type: ignore[attr-defined]
        CALLED.add((type(owner).__name__, method.__name__))
        return getattr(owner, name)  # type: ignore[no-any-return]


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Iterator[Call]:
    """Once for blocking callers, and once for asyncio."""
    if request.param == "sync":
        yield Call(None)
        return
    with asyncio.Runner() as runner:
        yield Call(runner)


@pytest.fixture
def cluster() -> Iterator[dstore.testing.Cluster]:
    """A registry and three nodes in memory."""
    with dstore.testing.Cluster(nodes=3) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: dstore.testing.Cluster) -> Iterator[dstore.Client]:
    """A client of the cluster."""
    with cluster.client() as client:
        yield client


class Servers:
    """A registry and three nodes, on disk and on this machine's own network."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.registry = stack.enter_context(dstore.Registry())
        self.nodes = [
            stack.enter_context(dstore.StorageNode(dir=folder / str(number), registry=self.address, free_floor=0))
            for number in range(3)
        ]

    @property
    def address(self) -> str:
        return self.registry.address

    def client(self, owner: dstore.Owner, ledger: Any, **settings: Any) -> dstore.Client:
        """A client of these servers."""
        return dstore.Client(owner=owner, ledger=ledger, registry=self.address, **settings)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """For tests that need a ledger, an owner or nodes of another kind than a cluster has. Each has an owner of its own."""
    with contextlib.ExitStack() as stack:
        yield Servers(tmp_path_factory.mktemp("servers"), stack)


def assert_nothing_is_left(call: Call, cluster: dstore.testing.Cluster, client: dstore.Client, path: str = "a") -> None:
    """No file, and no shard once the client has cleared away what it no longer needs."""
    assert not call(client.exists, path)
    call(client.close)
    assert call(cluster.live_shards) == 0


def is_whole_suite(session: pytest.Session) -> bool:
    """Whether nothing was left out when these tests were chosen."""
    collected = {item.path for item in session.items}
    config = session.config
    chosen = config.option.keyword or config.option.markexpr or config.getoption("lf", False)
    return not chosen and all(path in collected for path in TESTS.glob("test_*.py"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What looks at all that was called is last."""
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "last: a test that looks at what all others did")
