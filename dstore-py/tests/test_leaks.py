"""Ten thousand calls leave nothing behind."""

import asyncio
import gc
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import dstore.testing
import psutil
import pytest

CALLS = 10_000
#: Bytes a call that would be noticed: a leaked value with its hash map or its future is larger.
A_CALL = 100


@pytest.fixture(scope="module")
def client() -> Iterator[dstore.Client]:
    with dstore.testing.Cluster(nodes=3) as cluster, cluster.client() as client:
        client.put("there", b"1" * 1_000)
        yield client


def get(client: dstore.Client) -> None:
    assert len(client.get("there").bytes()) == 1_000


def head(client: dstore.Client) -> None:
    assert client.head("there").size == 1_000


def fail(client: dstore.Client) -> None:
    with pytest.raises(dstore.NotFound):
        client.head("nowhere")


def read(client: dstore.Client) -> None:
    with client.open("there") as file:
        assert len(file.read(10)) == 10


def iterate(client: dstore.Client) -> None:
    assert sum(map(len, client.get("there"))) == 1_000


def give_up_a_writer(client: dstore.Client) -> None:
    client.open("new", "wb").discard()


def objects() -> Counter[str]:
    gc.collect()
    return Counter(type(thing).__name__ for thing in gc.get_objects())


def rss() -> int:
    return int(psutil.Process().memory_info().rss)


def measure(work: Callable[[int], None]) -> None:
    """Does some of it first: pools, caches and arenas fill up."""
    work(CALLS // 5)
    before, threads, memory = objects(), threading.active_count(), rss()
    work(CALLS)
    more = objects() - before
    grown = rss() - memory
    assert sum(more.values()) < CALLS // 100, more.most_common(5)
    assert threading.active_count() == threads
    assert grown < CALLS * A_CALL + (4 << 20), f"{grown} bytes more"


def test_ten_thousand_calls_leave_nothing_behind(client: dstore.Client) -> None:
    calls = [head, fail, give_up_a_writer, get, head, fail, give_up_a_writer, read, head, iterate]

    def work(count: int) -> None:
        for number in range(count):
            calls[number % len(calls)](client)

    measure(work)


def test_ten_thousand_calls_on_an_event_loop_leave_nothing_behind(client: dstore.Client) -> None:
    async def many(count: int) -> None:
        for _ in range(count // 2):
            await client.head_async("there")
            task = asyncio.ensure_future(client.get("there").bytes_async())
            task.cancel()

    measure(lambda count: asyncio.run(many(count)))
