"""Ctrl-C, cancellation, threads."""

import asyncio
import contextlib
import gc
import io
import logging
import os
import signal
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import dstore.testing
import pytest

#: Far longer than anything here takes: what ends before it, ended because of an interrupt.
TIMEOUT = 600.0


@pytest.fixture
def cluster() -> Iterator[dstore.testing.Cluster]:
    with dstore.testing.Cluster(nodes=3) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: dstore.testing.Cluster) -> Iterator[dstore.Client]:
    client = cluster.client(timeout=TIMEOUT)
    client.put("there", b"1" * 100_000)
    yield client
    for index in range(3):
        cluster.resume(index)
    client.close()


def hang(cluster: dstore.testing.Cluster) -> None:
    for index in range(3):
        cluster.hang(index)


def alarm() -> None:
    """Has a signal raise KeyboardInterrupt on the main thread, soon: in the midst of what comes next."""
    signal.setitimer(signal.ITIMER_REAL, 0.2)


@pytest.fixture(autouse=True)
def alarm_interrupts() -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


BLOCKING: dict[str, Callable[[dstore.Client], object]] = {
    "get": lambda client: client.get("there").bytes(),
    "put": lambda client: client.put("new", b"2" * 1_000_000),
    "put of an iterator": lambda client: client.put("new", iter([b"3" * 100_000] * 1_000)),
    "stream": lambda client: list(client.get("there")),
    "check": lambda client: client.check("there"),
    "reader": lambda client: client.open("there").read(),
    "close": lambda client: client.close(),
}


@pytest.mark.parametrize("name", BLOCKING)
def test_ctrl_c_ends_a_call_that_blocks_and_nothing_is_stored(
    name: str, cluster: dstore.testing.Cluster, client: dstore.Client
) -> None:
    if name == "close":
        # Something is left to be done in the background: what was replaced is to be retired.
        client.put("there", b"4" * 100_000)
    hang(cluster)
    alarm()
    try:
        BLOCKING[name](client)
        assert name == "close", "with silent nodes it could not end by itself"
    except KeyboardInterrupt:
        pass
    for index in range(3):
        cluster.resume(index)
    with cluster.client() as another:
        assert [head.path for head in another.list()] == ["there"]


def test_ctrl_c_in_a_with_block_that_writes_stores_nothing(
    cluster: dstore.testing.Cluster, client: dstore.Client
) -> None:
    with pytest.raises(KeyboardInterrupt), client.open("new", "wb") as file:
        hang(cluster)
        alarm()
        while True:
            file.write(b"5" * 1_000_000)
    assert file.closed
    assert file.committed is None
    for index in range(3):
        cluster.resume(index)
    assert not client.exists("new")


def test_a_handler_that_does_not_raise_ends_nothing(cluster: dstore.testing.Cluster, client: dstore.Client) -> None:
    def resume(*_: object) -> None:
        for index in range(3):
            cluster.resume(index)

    signal.signal(signal.SIGALRM, resume)
    hang(cluster)
    alarm()
    assert client.get("there").bytes() == b"1" * 100_000


def test_a_write_that_was_interrupted_cannot_be_gone_on_with(
    cluster: dstore.testing.Cluster, client: dstore.Client
) -> None:
    file = client.open("new", "wb")
    hang(cluster)
    alarm()
    with pytest.raises(KeyboardInterrupt):
        while True:
            file.write(b"6" * 1_000_000)
    for index in range(3):
        cluster.resume(index)
    with pytest.raises(RuntimeError, match="nothing was stored"):
        file.close()
    assert not client.exists("new")


def test_a_stream_that_was_interrupted_gives_no_hole(cluster: dstore.testing.Cluster, client: dstore.Client) -> None:
    stream = client.get("there").stream()
    hang(cluster)
    alarm()
    with pytest.raises(KeyboardInterrupt):
        list(stream)
    for index in range(3):
        cluster.resume(index)
    with pytest.raises(RuntimeError, match="begin again"):
        list(stream)


def test_a_reader_that_was_interrupted_goes_on_where_it_was(
    cluster: dstore.testing.Cluster, client: dstore.Client
) -> None:
    content = os.urandom(3_000_000)
    client.put("long", content)
    for buffering in (0, -1):
        file = client.open("long", buffering=buffering)
        assert file.read(100) == content[:100]
        file.seek(2_000_000)
        hang(cluster)
        alarm()
        with pytest.raises(KeyboardInterrupt):
            file.read()
        for index in range(3):
            cluster.resume(index)
        assert file.tell() == 2_000_000
        assert file.read() == content[2_000_000:]


@pytest.mark.parametrize("source", ["bytes", "async iterator", "writer"])
def test_cancelling_a_task_ends_its_transfer_and_nothing_is_stored(
    source: str, cluster: dstore.testing.Cluster, client: dstore.Client
) -> None:
    async def pieces(under_way: asyncio.Event) -> AsyncIterator[bytes]:
        yield b"7" * 100_000
        under_way.set()
        await asyncio.Event().wait()

    async def write(under_way: asyncio.Event) -> None:
        async with client.open("new", "wb") as file:
            await file.write_async(b"7" * 100_000)
            under_way.set()
            while True:
                await file.write_async(b"7" * 1_000_000)

    async def cancel() -> None:
        under_way = asyncio.Event()
        if source == "bytes":
            under_way.set()
            transfer = asyncio.ensure_future(client.put_async("new", b"7" * 3_000_000))
        elif source == "writer":
            transfer = asyncio.ensure_future(write(under_way))
        else:
            transfer = asyncio.ensure_future(client.put_async("new", pieces(under_way)))
        await under_way.wait()
        transfer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await transfer
        for index in range(3):
            cluster.resume(index)
        assert not await client.exists_async("new")

    if source != "async iterator":
        hang(cluster)
    asyncio.run(cancel())


def test_a_deadline_of_asyncio_ends_a_get(cluster: dstore.testing.Cluster, client: dstore.Client) -> None:
    async def wait() -> None:
        async with asyncio.timeout(0.05):
            await client.get("there").bytes_async()

    hang(cluster)
    with pytest.raises(TimeoutError):
        asyncio.run(wait())


def test_threads_share_a_client(client: dstore.Client) -> None:
    contents = {f"by thread/{number}": os.urandom(200_000 + number) for number in range(24)}

    def there_and_back(path: str) -> bool:
        client.put(path, contents[path], mode="create")
        return client.get(path).bytes() == contents[path]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(there_and_back, contents))
    assert {head.path for head in client.list("by thread/")} == set(contents)


def test_other_threads_run_while_a_call_blocks(cluster: dstore.testing.Cluster, client: dstore.Client) -> None:
    hang(cluster)

    def resume() -> None:
        for index in range(3):
            cluster.resume(index)

    # It could not, if the call held the interpreter.
    helper = threading.Thread(target=resume)
    helper.start()
    assert len(client.get("there").bytes()) == 100_000
    helper.join()


def test_what_a_progress_callback_raises_ends_the_transfer(client: dstore.Client) -> None:
    def refuse(progress: dstore.Progress) -> None:
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        client.put("new", b"8" * 3_000_000, progress=refuse)
    with pytest.raises(KeyError, match="enough"):
        asyncio.run(_await(lambda: client.get("there", progress=refuse).bytes_async()))
    assert client.get("there").bytes() == b"1" * 100_000


async def _await(call: Callable[[], "asyncio.Future[object]"]) -> object:
    return await call()


def test_progress_arrives_on_the_event_loop_and_the_last_one_is_the_whole(client: dstore.Client) -> None:
    told: list[tuple[int, threading.Thread]] = []

    async def put() -> None:
        await client.put_async(
            "new", b"9" * 3_000_000, progress=lambda p: told.append((p.bytes_durable, threading.current_thread()))
        )

    asyncio.run(put())
    assert told[-1][0] == 3_000_000
    assert {thread for _, thread in told} == {threading.current_thread()}


def test_more_writers_than_puts_that_run_at_once_hold_nobody_up(client: dstore.Client) -> None:
    files = [client.open(f"many/{number}", "wb") for number in range(12)]
    for file in files:
        file.write(b"few bytes")
    client.put("another", b"1")
    for file in files:
        file.close()
    assert len(list(client.list("many/"))) == 12


def test_puts_that_wait_for_each_other_s_sources_are_told(cluster: dstore.testing.Cluster) -> None:
    with cluster.client(timeout=0.5) as client:
        files = [client.open(f"many/{number}", "wb") for number in range(6)]
        with pytest.raises(dstore.Timeout, match="wait for their sources"):
            # The last one does not begin before another ends.
            for _ in range(10):
                for file in files:
                    file.write(b"2" * 1_000_000)
        for file in files:
            file.discard()
        client.put("another", b"1")


async def _late_cancel(start: Callable[[], "asyncio.Future[object]"]) -> None:
    """Cancels a call when its work is done, and nobody has heard of it yet."""
    task = asyncio.ensure_future(start())
    await asyncio.sleep(0)
    done = threading.Event()
    # The event loop is busy until well after the end of the work.
    threading.Timer(0.2, done.set).start()
    done.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_read_that_is_cancelled_late_has_read_nothing(client: dstore.Client) -> None:
    async def read() -> None:
        file = await client.open_async("numbers")
        await _late_cancel(lambda: file.read_async(10))
        assert file.tell() == 0
        assert await file.read_async(3) == b"\x00\x01\x02"
        both = await asyncio.gather(file.read_async(1), file.read_async(1), return_exceptions=True)
        assert both[0] == b"\x03"
        assert isinstance(both[1], RuntimeError)

    client.put("numbers", bytes(range(256)))
    asyncio.run(read())


def test_a_write_that_is_cancelled_late_ends_its_file(client: dstore.Client) -> None:
    async def write() -> None:
        file = await client.open_async("new", "wb")
        await _late_cancel(lambda: file.write_async(b"once"))
        with pytest.raises(RuntimeError, match="nothing was stored"):
            await file.write_async(b"once")
        with pytest.raises(RuntimeError, match="nothing was stored"):
            await file.close_async()

    asyncio.run(write())
    assert not client.exists("new")


def test_a_stream_that_is_cancelled_late_gives_no_hole(client: dstore.Client) -> None:
    async def iterate() -> None:
        stream = client.get("there").__aiter__()
        await _late_cancel(lambda: stream.__anext__())
        with pytest.raises(RuntimeError, match="begin again"):
            await stream.__anext__()

    asyncio.run(iterate())


def test_a_writer_serves_one_call_at_a_time(client: dstore.Client) -> None:
    async def write() -> None:
        async with client.open("new", "wb") as file:
            both = await asyncio.gather(
                file.write_async(b"1" * 3_000_000), file.write_async(b"2" * 3_000_000), return_exceptions=True
            )
            assert both[0] == 3_000_000
            assert isinstance(both[1], RuntimeError)

    asyncio.run(write())
    assert client.get("new").bytes() == b"1" * 3_000_000


def test_what_wraps_a_writer_stores_nothing_when_its_block_raises(client: dstore.Client) -> None:
    for wrapper in (io.TextIOWrapper, io.BufferedWriter):
        with pytest.raises(KeyError), wrapper(client.open("new", "wb")) as file:
            file.write("half" if wrapper is io.TextIOWrapper else b"half")
            raise KeyError
        assert not client.exists("new")
    with io.TextIOWrapper(client.open("new", "wb")) as text:
        text.write("whole")
    assert client.get("new").bytes() == b"whole"


def test_an_interrupt_in_a_log_handler_is_not_lost(cluster: dstore.testing.Cluster, client: dstore.Client) -> None:
    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if threading.current_thread() is threading.main_thread():
                raise KeyboardInterrupt

    logger, handler = logging.getLogger("dstore"), Handler()
    logger.addHandler(handler)
    logger.setLevel(1)
    try:
        with pytest.raises(KeyboardInterrupt):
            for _ in range(1_000):
                client.get("there").bytes()
        logger.setLevel(sys.maxsize)
        assert client.exists("there")
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


def test_a_writer_in_a_cycle_with_its_listener_is_collected(client: dstore.Client) -> None:
    class Holder:
        def __init__(self) -> None:
            self.file = client.open("new", "wb", progress=self.listen)

        def listen(self, progress: dstore.Progress) -> None:
            pass

    gone = weakref.ref(Holder())
    with pytest.warns(ResourceWarning):
        gc.collect()
    assert gone() is None


def test_a_call_of_a_cluster_that_waits_for_another_can_be_interrupted(cluster: dstore.testing.Cluster) -> None:
    cluster.kill_registry()
    cluster.kill(0)
    begun = threading.Event()

    def restart() -> None:
        begun.set()
        with contextlib.suppress(dstore.DstoreError, RuntimeError):
            cluster.restart(0)

    threading.Thread(target=restart, daemon=True).start()
    begun.wait()
    alarm()
    with pytest.raises(KeyboardInterrupt):
        # The registry is down: the node waits for it.
        while True:
            cluster.kill(1)
