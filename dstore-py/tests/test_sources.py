"""What can be stored: anything with bytes, in any shape that Python has for them, and nothing else."""

from __future__ import annotations

import array
import asyncio
import ctypes
import gzip
import io
import mmap
import os
import pathlib
import pickle
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import dstore
import dstore.testing
import numpy
import pytest
from conftest import Call, assert_nothing_is_left, noise
from hypothesis import given
from hypothesis import strategies as st

CONTENT = noise(300_000)
NUMBERS = numpy.frombuffer(CONTENT, "<i4")


def mapped() -> mmap.mmap:
    with tempfile.TemporaryFile() as file:
        file.write(CONTENT)
        file.flush()
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def filled(kind: type[ctypes.Array[Any]]) -> ctypes.Array[Any]:
    return kind.from_buffer_copy(CONTENT)


class Record(ctypes.Structure):
    _fields_ = [("first", ctypes.c_uint16), ("second", ctypes.c_uint16 * 3)]


BUFFERS: dict[str, Callable[[], Any]] = {
    "bytes": lambda: CONTENT,
    "a subclass of bytes": lambda: type("Mine", (bytes,), {})(CONTENT),
    "bytearray": lambda: bytearray(CONTENT),
    "memoryview": lambda: memoryview(CONTENT),
    "memoryview of a part": lambda: memoryview(b"xx" + CONTENT + b"yy")[2:-2],
    "memoryview of other items": lambda: memoryview(CONTENT).cast("I"),
    "memoryview of two dimensions": lambda: memoryview(CONTENT).cast("B", (300, 1000)),
    "memoryview of chars": lambda: memoryview(CONTENT).cast("c"),
    "array of doubles": lambda: array.array("d", CONTENT),
    "array of shorts": lambda: array.array("h", CONTENT),
    "numpy array": lambda: NUMBERS,
    "numpy array of other endianness": lambda: numpy.frombuffer(CONTENT, ">u8"),
    "numpy array of three dimensions": lambda: NUMBERS.reshape(3, 250, 100),
    "numpy array of records": lambda: numpy.frombuffer(CONTENT, [("a", "<i4"), ("b", "<f8")]),
    "numpy array of complex numbers": lambda: numpy.frombuffer(CONTENT, "complex64"),
    "numpy array of halves": lambda: numpy.frombuffer(CONTENT, "f2"),
    "numpy array without dimensions": lambda: numpy.array(CONTENT, "V300000"),
    "mmap": mapped,
    "ctypes array": lambda: filled(ctypes.c_int * (len(CONTENT) // 4)),
    "ctypes array of arrays": lambda: filled((ctypes.c_double * 10) * (len(CONTENT) // 80)),
    "ctypes structures": lambda: filled(Record * (len(CONTENT) // 8)),
    "ctypes chars": lambda: filled(ctypes.c_char * len(CONTENT)),
    "pickle buffer": lambda: pickle.PickleBuffer(CONTENT),
    "BytesIO's buffer": lambda: io.BytesIO(CONTENT).getbuffer(),
}


@pytest.mark.parametrize("kind", BUFFERS)
def test_bytes_like_objects_are_stored_as_their_bytes(call: Call, client: dstore.Client, kind: str) -> None:
    data = BUFFERS[kind]()
    assert call(client.put, "a", data).head.size == len(CONTENT)
    assert call(client.get("a").bytes) == CONTENT


@pytest.mark.parametrize("data", [b"", bytearray(), array.array("d"), numpy.zeros((0, 4)), io.BytesIO(), [], iter([])])
def test_nothing_is_stored_as_no_bytes(call: Call, client: dstore.Client, data: Any) -> None:
    assert call(client.put, "a", data).head.size == 0
    assert call(client.get("a").bytes) == b""


@pytest.mark.parametrize(
    "data",
    [
        memoryview(CONTENT)[::2],
        memoryview(CONTENT)[::-1],
        NUMBERS[::3],
        numpy.asfortranarray(NUMBERS.reshape(300, 250)),
        numpy.broadcast_to(NUMBERS[:1], (100,)),
    ],
)
def test_a_buffer_with_gaps_is_refused_with_advice(
    call: Call, cluster: dstore.testing.Cluster, client: dstore.Client, data: Any
) -> None:
    with pytest.raises(BufferError, match="contiguous"):
        call(client.put, "a", data)
    with pytest.raises(BufferError, match="contiguous"):
        call(client.put, "a", iter([data]))
    assert_nothing_is_left(call, cluster, client)


class Plain:
    """A file that has `read` and nothing else, and gives as many bytes as it likes."""

    def __init__(self, content: bytes, *sizes: int) -> None:
        self._left = content
        self._sizes = list(sizes)

    def read(self, size: int) -> bytes:
        size = min(size, self._sizes.pop(0) if self._sizes else size)
        given, self._left = self._left[:size], self._left[size:]
        return given


class Socket:
    """The reading end of a connection, which is written to in another thread."""

    def __init__(self) -> None:
        self._reading, writing = socket.socketpair()

        def write() -> None:
            with writing:
                writing.sendall(CONTENT)

        self._thread = threading.Thread(target=write)
        self._thread.start()

    def makefile(self, buffering: int) -> Any:
        return self._reading.makefile("rb", buffering=buffering)

    def close(self) -> None:
        self._reading.close()
        self._thread.join()


def on_disk(folder: pathlib.Path) -> pathlib.Path:
    path = folder / "source"
    path.write_bytes(CONTENT)
    return path


def zipped(folder: pathlib.Path) -> Any:
    path = folder / "source.gz"
    path.write_bytes(gzip.compress(CONTENT, 1))
    return gzip.open(path)


def temporary(folder: pathlib.Path) -> Any:
    file = tempfile.SpooledTemporaryFile(max_size=1000, dir=str(folder))  # noqa: SIM115
    file.write(CONTENT)
    file.seek(0)
    return file


FILES: dict[str, Callable[[pathlib.Path], Any]] = {
    "BytesIO": lambda _: io.BytesIO(CONTENT),
    "buffered file": lambda folder: on_disk(folder).open("rb"),
    "raw file": lambda folder: on_disk(folder).open("rb", buffering=0),
    "random access file": lambda folder: on_disk(folder).open("r+b"),
    "gzip": zipped,
    "temporary file": temporary,
    "plain object": lambda _: Plain(CONTENT),
    "plain object that gives little": lambda _: Plain(CONTENT, 1, 2, 70_000, 3),
    "buffered reader": lambda _: io.BufferedReader(io.BytesIO(CONTENT)),
}


@pytest.mark.parametrize("kind", FILES)
def test_binary_files_are_stored_from_where_they_are(
    call: Call, client: dstore.Client, tmp_path: pathlib.Path, kind: str
) -> None:
    file = FILES[kind](tmp_path)
    assert call(client.put, "a", file).head.size == len(CONTENT)
    assert call(client.get("a").bytes) == CONTENT
    assert not getattr(file, "closed", False)
    if hasattr(file, "seek"):
        file.seek(250_000)
        assert call(client.put, "a", file).head.size == 50_000
        assert call(client.get("a").bytes) == CONTENT[250_000:]
        file.close()


@pytest.mark.parametrize("buffering", [-1, 0])
def test_what_comes_through_a_socket_is_stored(call: Call, client: dstore.Client, buffering: int) -> None:
    end = Socket()
    with end.makefile(buffering) as file:
        call(client.put, "a", file)
    end.close()
    assert call(client.get("a").bytes) == CONTENT


def test_what_comes_through_a_pipe_is_stored(call: Call, client: dstore.Client) -> None:
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as end:
            end.write(CONTENT[:40_000])

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(reading, "rb") as file:
        call(client.put, "a", file)
    writer.join()
    assert call(client.get("a").bytes) == CONTENT[:40_000]


@pytest.mark.parametrize("mode", ["rb", "buffered"])
def test_a_file_of_dstore_is_a_source_like_any_other(call: Call, client: dstore.Client, mode: str) -> None:
    call(client.put, "a", CONTENT)
    # With asyncio, each read is made in another thread.
    with client.open("a", buffering=-1 if mode == "buffered" else 0) as file:
        call(client.put, "b", file)
    assert call(client.get("b").bytes) == CONTENT
    call(client.put, "c", client.get("a"))
    assert call(client.get("c").bytes) == CONTENT


def test_a_path_names_a_local_file(call: Call, client: dstore.Client, tmp_path: pathlib.Path) -> None:
    class Named:
        def __fspath__(self) -> str:
            return str(path)

    path = on_disk(tmp_path)
    for source in (path, Named()):
        assert call(client.put, "a", source).head.size == len(CONTENT)
        assert call(client.preview, "b", source).size == len(CONTENT)
    assert call(client.get("a").bytes) == CONTENT
    with pytest.raises(FileNotFoundError) as raised:
        call(client.put, "a", tmp_path / "nothing")
    assert raised.value.errno == 2
    assert "nothing" in str(raised.value)
    with pytest.raises(dstore.ConfigError):
        call(client.put, "a", tmp_path)


def test_a_file_whose_name_is_no_unicode_is_stored(call: Call, client: dstore.Client, tmp_path: pathlib.Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff\xfe")
    path.write_bytes(b"content")
    call(client.put, "a", path)
    call(client.download, "a", tmp_path / os.fsdecode(b"\xfd"))
    assert (tmp_path / os.fsdecode(b"\xfd")).read_bytes() == b"content"


PIECES = [CONTENT[:1], b"", CONTENT[1:100_000], CONTENT[100_000:100_010], CONTENT[100_010:]]
ITERATORS: dict[str, Callable[[], Any]] = {
    "list": lambda: list(PIECES),
    "tuple": lambda: tuple(PIECES),
    "generator": lambda: (piece for piece in PIECES),
    "iterator of arrays": lambda: map(numpy.frombuffer, filter(None, PIECES), iter(lambda: "u1", None)),
    "iterator of different kinds": lambda: iter([bytearray(PIECES[0]), memoryview(CONTENT)[1:100_000], *PIECES[3:]]),
    "iterator of many": lambda: (CONTENT[start : start + 100] for start in range(0, len(CONTENT), 100)),
    "iterator of one": lambda: iter([CONTENT]),
}


@pytest.mark.parametrize("kind", ITERATORS)
def test_an_iterator_s_pieces_are_stored_one_after_another(call: Call, client: dstore.Client, kind: str) -> None:
    assert call(client.put, "a", ITERATORS[kind]()).head.size == len(CONTENT)
    assert call(client.get("a").bytes) == CONTENT


@pytest.mark.parametrize("size", [10, 65_536, 1 << 20, 3_000_000])
def test_a_buffer_that_is_used_again_after_each_step_is_copied(call: Call, client: dstore.Client, size: int) -> None:
    def pieces() -> Iterator[memoryview]:
        buffer = bytearray(size)
        for number in range(6):
            buffer[:] = bytes([number]) * size
            yield memoryview(buffer)
            buffer[:] = b"x" * size

    class Reused:
        def __init__(self) -> None:
            self.steps = pieces()

        def read(self, _: int) -> memoryview | bytes:
            return next(self.steps, b"")

    expected = b"".join(bytes([number]) * size for number in range(6))
    for source in (pieces(), Reused()):
        call(client.put, "a", source)
        assert call(client.get("a").bytes) == expected


class AsyncFile:
    """What aiofiles and its like give."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    async def read(self, size: int = -1) -> bytes:
        await asyncio.sleep(0)
        return self._file.read(size)


class Awaitable(AsyncFile):
    """One whose `read` is no coroutine function, but gives something to await."""

    def read(self, size: int = -1) -> Any:
        return super().read(size)


async def generated() -> AsyncIterator[bytes]:
    for piece in PIECES:
        await asyncio.sleep(0)
        yield piece


ASYNC: dict[str, Callable[[], Any]] = {
    "generator": generated,
    "file": lambda: AsyncFile(CONTENT),
    "file with awaitables": lambda: Awaitable(CONTENT),
}


@pytest.mark.parametrize("kind", ASYNC)
def test_asynchronous_sources_are_stored_by_the_twin_for_asyncio(call: Call, client: dstore.Client, kind: str) -> None:
    if not call.is_async:
        pytest.skip("nobody runs them")
    call(client.put, "a", ASYNC[kind]())
    assert call(client.get("a").bytes) == CONTENT


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("kind", ASYNC)
def test_asynchronous_sources_are_type_errors_without_asyncio(
    cluster: dstore.testing.Cluster, client: dstore.Client, kind: str
) -> None:
    with pytest.raises(TypeError, match="put_async" if kind == "generator" else "bytes-like"):
        client.put("a", ASYNC[kind]())
    assert_nothing_is_left(Call(None), cluster, client)


class Mine(Exception):
    pass


def failing(raised: BaseException, after: int) -> dict[str, Any]:
    class File:
        steps = 0

        def read(self, _: int) -> bytes:
            self.steps += 1
            if self.steps > after:
                raise raised
            return noise(1 << 20)

    def pieces() -> Iterator[bytes]:
        for _ in range(after):
            yield noise(1 << 20)
        raise raised

    async def later() -> AsyncIterator[bytes]:
        for piece in [noise(1 << 20)] * after:
            yield piece
        raise raised

    return {"file": File(), "iterator": pieces(), "asynchronous": later()}


@pytest.mark.parametrize("after", [0, 1, 12])
@pytest.mark.parametrize("kind", ["file", "iterator", "asynchronous"])
def test_what_a_source_raises_arrives_as_it_is_and_nothing_is_stored(
    call: Call, cluster: dstore.testing.Cluster, client: dstore.Client, kind: str, after: int
) -> None:
    if kind == "asynchronous" and not call.is_async:
        pytest.skip("nobody runs it")
    raised = Mine("as it is")
    with pytest.raises(Mine) as caught:
        call(client.put, "a", failing(raised, after)[kind])
    assert caught.value is raised
    assert raised.__cause__ is None
    assert_nothing_is_left(call, cluster, client)


@pytest.mark.parametrize("kind", ["file", "iterator"])
@pytest.mark.parametrize("raised", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_an_interruption_in_a_source_stores_nothing(
    cluster: dstore.testing.Cluster, client: dstore.Client, kind: str, raised: BaseException
) -> None:
    with pytest.raises(type(raised)) as caught:
        client.put("a", failing(raised, 3)[kind])
    assert caught.value is raised
    assert_nothing_is_left(Call(None), cluster, client)


class Gives:
    def __init__(self, value: Any) -> None:
        self._value = value

    def read(self, _: int) -> Any:
        return self._value


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ("text", TypeError),
        (3, TypeError),
        (None, TypeError),
        (1.5, TypeError),
        (object(), TypeError),
        (lambda: b"a", TypeError),
        (bytes, TypeError),
        (["text"], TypeError),
        ([1, 2], TypeError),
        ([b"a", 2], TypeError),
        ([[b"a"]], TypeError),
        ([None], BlockingIOError),
        (range(3), TypeError),
        (io.StringIO("text"), TypeError),
        (Gives("text"), TypeError),
        (Gives(""), TypeError),
        (Gives(5), TypeError),
        (Gives(None), BlockingIOError),
        (Gives([b"a"]), TypeError),
    ],
)
def test_what_has_no_bytes_is_refused_and_nothing_is_stored(
    call: Call, cluster: dstore.testing.Cluster, client: dstore.Client, data: Any, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        call(client.put, "a", data)
    assert_nothing_is_left(call, cluster, client)


def test_a_file_in_text_mode_is_refused_with_advice(call: Call, client: dstore.Client, tmp_path: pathlib.Path) -> None:
    with on_disk(tmp_path).open(encoding="latin-1") as file, pytest.raises(TypeError, match="binary mode"):
        call(client.put, "a", file)


def test_a_text_names_no_file(call: Call, client: dstore.Client, tmp_path: pathlib.Path) -> None:
    with pytest.raises(TypeError, match=r"pathlib\.Path or Client\.upload"):
        call(client.put, "a", str(on_disk(tmp_path)))


IN: dict[str, Callable[[list[bytes]], Any]] = {
    "bytes": lambda pieces: b"".join(pieces),
    "bytearray": lambda pieces: bytearray(b"".join(pieces)),
    "file": lambda pieces: io.BytesIO(b"".join(pieces)),
    "plain file": lambda pieces: Plain(b"".join(pieces), *filter(None, map(len, pieces))),
    "iterator": iter,
}


@pytest.fixture
def local(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "local"


@given(
    sizes=st.lists(st.sampled_from([0, 1, 100, 65_535, 65_536, 65_537]) | st.integers(0, 200_000), max_size=6),
    way_in=st.sampled_from([*IN, "path", "upload", "writer"]),
    seed=st.integers(0, 1000),
)
def test_any_bytes_in_any_pieces_come_back_by_every_way(
    call: Call, client: dstore.Client, local: pathlib.Path, sizes: list[int], way_in: str, seed: int
) -> None:
    pieces = [noise(size, seed + number) for number, size in enumerate(sizes)]
    content = b"".join(pieces)
    if way_in in IN:
        call(client.put, "any", IN[way_in](pieces))
    elif way_in == "writer":
        with call.within(call.open(client, "any", "wb")) as writer:
            for piece in pieces:
                assert call(writer.write, piece) == len(piece)
    else:
        local.write_bytes(content)
        if way_in == "path":
            call(client.put, "any", local)
        else:
            call(client.upload, local, "any")
    assert call(client.get("any").bytes) == content
    assert call(client.get_range, "any") == content
    assert b"".join(call.each(client.get("any"))) == content
    assert b"".join(call.each(call(client.get("any").stream))) == content
    with call.within(call.open(client, "any")) as reader:
        assert call(reader.read) == content
    with client.open("any") as buffered:
        assert buffered.read() == content
    call(client.download, "any", local)
    assert local.read_bytes() == content
