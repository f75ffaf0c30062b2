"""Files that are open: readers that behave as Python's own do, and writers that store all or nothing."""

from __future__ import annotations

import gc
import gzip
import io
import mmap
import shutil
import zipfile
from collections.abc import Iterator
from typing import Any

import dstore
import dstore.testing
import numpy
import pytest
from conftest import Call, assert_nothing_is_left, noise
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

CONTENT = noise(300_000)


@pytest.fixture
def reader(call: Call, client: dstore.Client) -> Iterator[dstore.Reader]:
    """`CONTENT`, open."""
    call(client.put, "a", CONTENT)
    with call.within(call.open(client, "a")) as reader:
        yield reader


def test_a_reader_knows_its_file(call: Call, client: dstore.Client, reader: dstore.Reader) -> None:
    assert isinstance(reader, io.RawIOBase)
    assert reader.head == call(client.head, "a")
    assert (reader.size, reader.tell(), reader.closed) == (len(CONTENT), 0, False)
    assert (reader.readable(), reader.seekable(), reader.writable(), reader.isatty()) == (True, True, False, False)
    for refused in (reader.fileno, lambda: reader.write(b""), reader.truncate):
        with pytest.raises(io.UnsupportedOperation):
            refused()


def test_a_reader_gives_what_is_left_however_it_is_asked(call: Call, reader: dstore.Reader) -> None:
    assert call(reader.read, 10) == CONTENT[:10]
    assert call(reader.read, 0) == b""
    assert call(reader.read, 100_000) == CONTENT[10:100_010]
    assert reader.tell() == 100_010
    for everything in (None, -1, -7):
        reader.seek(100_010)
        assert call(reader.read, everything) == CONTENT[100_010:]
    assert call(reader.read) == call(reader.read, 10) == b""
    reader.seek(-3, io.SEEK_END)
    assert reader.readall() == CONTENT[-3:]


def test_a_reader_fills_buffers_of_every_kind(reader: dstore.Reader) -> None:
    buffer = bytearray(1000)
    assert reader.readinto(buffer) == 1000
    assert buffer == CONTENT[:1000]
    numbers = numpy.zeros((5, 5), "<i4")
    assert reader.readinto(numbers) == 100
    assert numbers.tobytes() == CONTENT[1000:1100]
    mapped = mmap.mmap(-1, 4096)
    assert reader.readinto(mapped) == 4096
    assert mapped[:] == CONTENT[1100:5196]
    assert reader.readinto(bytearray()) == 0
    reader.seek(-10, io.SEEK_END)
    buffer = bytearray(b"x" * 20)
    assert reader.readinto(buffer) == 10
    assert buffer == CONTENT[-10:] + b"x" * 10
    assert reader.readinto(buffer) == 0
    for refused in (b"constant", memoryview(bytearray(10))[::2], "text", 3):
        with pytest.raises(TypeError):
            reader.readinto(refused)  # type: ignore[arg-type]


def test_a_reader_moves_anywhere_but_before_the_beginning(call: Call, reader: dstore.Reader) -> None:
    assert reader.seek(10) == reader.tell() == 10
    assert reader.seek(5, io.SEEK_CUR) == 15
    assert reader.seek(-5, io.SEEK_CUR) == 10
    assert reader.seek(-1, io.SEEK_END) == len(CONTENT) - 1
    assert call(reader.read) == CONTENT[-1:]
    for beyond in (len(CONTENT) + 1000, 2**62):
        assert reader.seek(beyond) == beyond
        assert call(reader.read) == call(reader.read, 10) == b""
        assert reader.tell() == beyond
    for offset, whence in [(-1, io.SEEK_SET), (-(2**63), io.SEEK_CUR), (-len(CONTENT) - 1, io.SEEK_END), (0, 3)]:
        with pytest.raises(ValueError):
            reader.seek(offset, whence)
    assert reader.tell() == 2**62


def test_a_reader_of_a_range_knows_nothing_else(call: Call, client: dstore.Client, reader: dstore.Reader) -> None:
    with call.within(call(client.get("a", start=1000, length=500).reader)) as part:
        assert part.size == 500
        assert call(part.read) == CONTENT[1000:1500]
        part.seek(-10, io.SEEK_END)
        assert call(part.read) == CONTENT[1490:1500]
    if not call.is_async:
        with client.open("a", start=1000, end=1010) as buffered:
            assert buffered.read() == CONTENT[1000:1010]


def test_a_reader_that_is_closed_says_so(call: Call, client: dstore.Client) -> None:
    call(client.put, "a", CONTENT)
    with call.within(call.open(client, "a")) as reader:
        pass
    assert reader.closed
    reader.close()
    with pytest.raises(ValueError):
        call(reader.read)
    for refused in (reader.readall, reader.tell, lambda: reader.seek(0), lambda: reader.readinto(bytearray(1))):
        with pytest.raises(ValueError):
            refused()


def test_lines_and_text_are_read_through_what_io_has(call: Call, client: dstore.Client) -> None:
    lines = [f"line {number} é\n" for number in range(2000)]
    call(client.put, "a", "".join(lines).encode())
    with client.open("a") as file:
        assert isinstance(file, io.BufferedReader)
        assert file.readline() == lines[0].encode()
        assert [line.decode() for line in file] == lines[1:]
        file.seek(0)
        assert file.readlines(15) == [line.encode() for line in lines[:2]]
    with io.TextIOWrapper(client.open("a"), "utf-8") as text:
        assert list(text) == lines
    with client.open("a", buffering=0) as raw:
        assert isinstance(raw, dstore.Reader)
        assert raw.readline() == lines[0].encode()
    with client.open("a", buffering=16) as small:
        assert small.read(3) == b"lin"
        assert len(small.peek()) <= 16


def test_modes_that_are_none_are_value_errors(call: Call, client: dstore.Client) -> None:
    call(client.put, "a", b"")
    for mode in ("r", "w", "a", "ab", "r+b", "wt", "rw", ""):
        with pytest.raises(ValueError, match="'rb', 'wb' or 'xb'"):
            call(client.open, "a", mode)
    with pytest.raises(TypeError):
        call(client.open, "a", "rb", attributes={})


def test_a_reader_goes_on_with_its_version_while_shards_of_it_are_there(
    call: Call, client: dstore.Client, reader: dstore.Reader
) -> None:
    assert call(reader.read, 10) == CONTENT[:10]
    call(client.put, "a", b"newer")
    reader.seek(200_000)
    assert call(reader.read) == CONTENT[200_000:]


@pytest.mark.parametrize("way", ["read", "readinto", "buffered", "stream"])
def test_a_file_that_was_replaced_and_whose_shards_are_gone_is_superseded(
    call: Call, cluster: dstore.testing.Cluster, client: dstore.Client, way: str
) -> None:
    content = noise(20_000_000)
    call(client.put, "a", content)
    reader = call.open(client, "a")
    buffered = client.open("a")
    stream = call(client.get("a").stream)
    call(client.put, "a", b"newer")
    for index in range(3):
        call(cluster.wipe, index)
    reader.seek(15_000_000)
    buffered.seek(15_000_000)
    with pytest.raises(dstore.Superseded) as raised:
        match way:
            case "read":
                call(reader.read, 100)
            case "readinto":
                reader.readinto(bytearray(100))
            case "buffered":
                buffered.read(100)
            case "stream":
                call.each(stream)
    assert (raised.value.path, raised.value.retryable) == ("a", True)
    reader.close()
    buffered.close()


class Like(RuleBasedStateMachine):
    """A file of dstore, and one of Python's own with the same bytes: whatever is done to both gives the same."""

    def __init__(self, call: Call, client: dstore.Client, kind: str) -> None:
        super().__init__()
        self.call, self.client, self.kind = call, client, kind

    @initialize(
        length=st.sampled_from([0, 1, 65_520, 65_521, 300_000]) | st.integers(0, 300_000), start=st.integers(0, 1000)
    )
    def open(self, length: int, start: int) -> None:
        content = noise(length)
        self.call(self.client.put, "like", content)
        self.model = io.BytesIO(content[start:])
        if self.kind == "raw":
            self.file = self.call(self.client.get("like", start=start).reader)
        else:
            self.file = self.client.open(
                "like", start=start, buffering={"buffered": -1, "small buffer": 100}[self.kind]
            )

    @rule(size=st.none() | st.sampled_from([-1, 0, 1, 65_520]) | st.integers(0, 200_000))
    def read(self, size: int | None) -> None:
        expected = self.model.read(size)
        got = self.call(self.file.read, size) if self.kind == "raw" else self.file.read(size)
        assert got == expected

    @rule(size=st.integers(0, 200_000))
    def readinto(self, size: int) -> None:
        mine, theirs = bytearray(size), bytearray(size)
        assert self.file.readinto(theirs) == self.model.readinto(mine)
        assert mine == theirs

    @precondition(lambda self: self.kind != "raw")
    @rule(size=st.integers(-1, 500))
    def readline(self, size: int) -> None:
        assert self.file.readline(size) == self.model.readline(size)

    @rule(offset=st.integers(-400_000, 400_000), whence=st.sampled_from([0, 1, 2]))
    def seek(self, offset: int, whence: int) -> None:
        base = (0, self.model.tell(), len(self.model.getbuffer()))[whence]
        if base + offset < 0:
            # BytesIO goes to the beginning, and files of the system refuse it.
            with pytest.raises(ValueError):
                self.file.seek(offset, whence)
            self.file.seek(self.model.tell())
        else:
            assert self.file.seek(offset, whence) == self.model.seek(offset, whence)

    @rule()
    def tell(self) -> None:
        assert self.file.tell() == self.model.tell()

    def teardown(self) -> None:
        if hasattr(self, "file"):
            self.file.close()


@pytest.mark.parametrize("kind", ["raw", "buffered", "small buffer"])
def test_a_reader_is_like_a_file_of_python_s_own(call: Call, client: dstore.Client, kind: str) -> None:
    if call.is_async and kind != "raw":
        pytest.skip("asyncio gets raw readers")
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: Like(call, client, kind), settings=settings(max_examples=15, stateful_step_count=20)
    )


def test_a_writer_stores_the_file_when_it_is_closed(call: Call, client: dstore.Client) -> None:
    writer = call.open(client, "a", "wb", attributes={"k": "v"})
    assert (writer.writable(), writer.readable(), writer.seekable(), writer.tell()) == (True, False, False, 0)
    for refused in (writer.fileno, writer.read, writer.readline, lambda: writer.seek(0), writer.truncate):
        with pytest.raises(io.UnsupportedOperation):
            refused()
    assert call(writer.write, CONTENT[:100]) == 100
    assert call(writer.write, b"") == 0
    assert call(writer.write, memoryview(CONTENT)[100:]) == len(CONTENT) - 100
    assert writer.tell() == len(CONTENT)
    assert writer.committed is None
    assert not call(client.exists, "a")
    call(writer.close)
    assert writer.closed
    assert writer.committed.head == call(client.head, "a")
    assert writer.committed.head.attributes == {"k": "v"}
    assert call(client.get("a").bytes) == CONTENT
    call(writer.close)
    call(writer.discard)
    assert call(client.head, "a").version == 1


def test_a_writer_stores_the_file_at_the_end_of_a_with_block(call: Call, client: dstore.Client) -> None:
    with call.within(call.open(client, "a", "xb")) as writer:
        call(writer.write, b"content")
    assert writer.committed
    assert writer.committed.head.size == 7
    with call.within(call.open(client, "empty", "wb")) as writer:
        pass
    assert call(client.get("empty").bytes) == b""


@pytest.mark.parametrize("length", [0, 100, 10_000_000])
@pytest.mark.parametrize("raised", [ValueError("mine"), KeyboardInterrupt(), SystemExit(), GeneratorExit()])
def test_a_writer_whose_block_ends_with_an_exception_stores_nothing(
    call: Call, cluster: dstore.testing.Cluster, client: dstore.Client, raised: BaseException, length: int
) -> None:
    with pytest.raises(type(raised)) as caught, call.within(call.open(client, "a", "wb")) as writer:
        call(writer.write, noise(length))
        raise raised
    assert caught.value is raised
    assert writer.closed
    assert writer.committed is None
    assert_nothing_is_left(call, cluster, client)


def test_a_writer_that_is_interrupted_while_it_writes_stores_nothing(
    cluster: dstore.testing.Cluster, client: dstore.Client
) -> None:
    def interrupt(_: dstore.Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), client.open("a", "wb", progress=interrupt) as writer:
        for _ in range(50):
            writer.write(noise(1 << 20))
    assert_nothing_is_left(Call(None), cluster, client)


@pytest.mark.parametrize("length", [0, 100, 10_000_000])
def test_a_writer_that_is_discarded_stores_nothing(
    call: Call, cluster: dstore.testing.Cluster, client: dstore.Client, length: int
) -> None:
    writer = call.open(client, "a", "wb")
    call(writer.write, noise(length))
    call(writer.discard)
    call(writer.discard)
    call(writer.close)
    assert writer.closed
    assert writer.committed is None
    with pytest.raises(ValueError):
        call(writer.write, b"more")
    assert_nothing_is_left(call, cluster, client)


@pytest.mark.parametrize("length", [0, 100, 10_000_000])
def test_a_writer_that_nobody_closes_stores_nothing_and_warns(
    call: Call, cluster: dstore.testing.Cluster, client: dstore.Client, length: int
) -> None:
    writer = call.open(client, "a", "wb")
    call(writer.write, noise(length))
    with pytest.warns(ResourceWarning, match="nothing was stored"):
        del writer
        gc.collect()
    assert_nothing_is_left(call, cluster, client)


def test_a_writer_that_is_closed_takes_nothing(call: Call, client: dstore.Client) -> None:
    writer = call.open(client, "a", "wb")
    call(writer.close)
    with pytest.raises(ValueError):
        call(writer.write, b"more")
    with pytest.raises(ValueError):
        writer.tell()
    with pytest.raises(ValueError), call.within(writer):
        call(writer.write, b"more")
    assert call(client.get("a").bytes) == b""


def test_many_small_pieces_are_one_file(call: Call, client: dstore.Client) -> None:
    with call.within(call.open(client, "a", "wb")) as writer:
        for start in range(0, 30_000, 10):
            call(writer.write, CONTENT[start : start + 10])
    assert call(client.get("a").bytes) == CONTENT[:30_000]


def test_a_buffer_that_is_written_may_be_used_again_at_once(call: Call, client: dstore.Client) -> None:
    buffer = bytearray(3_000_000)
    with call.within(call.open(client, "a", "wb")) as writer:
        for number in range(5):
            buffer[:] = bytes([number]) * len(buffer)
            call(writer.write, buffer)
        buffer[:] = b"x" * len(buffer)
    assert call(client.get("a").bytes) == b"".join(bytes([number]) * len(buffer) for number in range(5))


@pytest.mark.parametrize("data", ["text", 3, None, [b"a"], iter([b"a"])])
def test_a_writer_takes_nothing_but_bytes(call: Call, client: dstore.Client, data: Any) -> None:
    with call.within(call.open(client, "a", "wb")) as writer:
        with pytest.raises(TypeError):
            call(writer.write, data)
        with pytest.raises(BufferError):
            call(writer.write, memoryview(b"abcd")[::2])
        call(writer.write, b"content")
    assert call(client.get("a").bytes) == b"content"


@pytest.mark.parametrize("length", [10, 30_000_000])
def test_a_writer_raises_what_a_put_raises_and_stores_nothing(call: Call, client: dstore.Client, length: int) -> None:
    call(client.put, "a", b"old")
    writer = call.open(client, "a", "xb")
    with pytest.raises(dstore.AlreadyExists):
        for _ in range(0, length, 1 << 20):
            call(writer.write, noise(min(length, 1 << 20)))
        call(writer.close)
    if not writer.closed:
        # What comes after the failure is not stored either.
        with pytest.raises(RuntimeError, match="nothing was stored"):
            call(writer.write, b"more" * 20_000)
        with pytest.raises(RuntimeError, match="nothing was stored"):
            call(writer.close)
    assert writer.closed
    assert writer.committed is None
    assert call(client.get("a").bytes) == b"old"


def test_what_python_has_for_files_writes_and_reads_them(client: dstore.Client) -> None:
    with client.open("a.gz", "wb") as file, gzip.open(file, "wb") as zipped:
        zipped.write(CONTENT)
    with client.open("a.gz") as file, gzip.open(file) as zipped:
        assert zipped.read() == CONTENT
    with client.open("a.zip", "wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("one", CONTENT)
        archive.writestr("two", b"2")
    with client.open("a.zip") as file, zipfile.ZipFile(file) as archive:
        assert (archive.read("two"), archive.read("one"), archive.testzip()) == (b"2", CONTENT, None)
    with client.open("a.npy", "wb") as file:
        numpy.save(file, numpy.arange(1000))
    with client.open("a.npy") as file:
        assert (numpy.load(file) == numpy.arange(1000)).all()
    with io.TextIOWrapper(io.BufferedWriter(client.open("a.txt", "wb")), "utf-8") as text:
        print("é" * 1000, file=text)
    assert client.get("a.txt").bytes().decode() == "é" * 1000 + "\n"
    with client.open("a.zip") as source, client.open("copy", "wb") as target:
        shutil.copyfileobj(source, target)
    assert client.head("copy").content_hash == client.head("a.zip").content_hash


def test_readers_and_streams_go_their_own_ways(call: Call, client: dstore.Client) -> None:
    call(client.put, "a", CONTENT)
    readers = [call.open(client, "a") for _ in range(3)]
    for number, reader in enumerate(readers):
        reader.seek(number * 1000)
    assert [call(reader.read, 10) for reader in readers] == [CONTENT[n * 1000 : n * 1000 + 10] for n in range(3)]
    for reader in readers:
        reader.close()
    first, second = iter(client.get("a")), iter(client.get("a"))
    pieces = [(bytes(next(first)), bytes(next(second))) for _ in range(3)]
    assert all(mine == theirs for mine, theirs in pieces)
    assert b"".join([mine for mine, _ in pieces] + list(first)) == CONTENT


def test_what_a_stream_gave_outlives_everything(call: Call) -> None:
    with dstore.testing.Cluster(nodes=3) as cluster, cluster.client() as client:
        client.put("a", CONTENT)
        pieces = call.each(client.get("a"))
        whole = call(client.get("a").bytes)
    del client, cluster
    gc.collect()
    assert b"".join(pieces) == whole == CONTENT
