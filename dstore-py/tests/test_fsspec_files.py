"""Files that are opened through fsspec: what is read, and when what is written is stored."""

# fsspec has no types.
# What is written before an exception belongs into the block.
# mypy: disable-error-code="import-untyped, misc, no-untyped-call"

import contextlib
import gc
import gzip
import os
import pickle
from collections.abc import Callable, Iterator
from typing import Any, cast

import dstore
import dstore.testing
import fsspec
import pytest
from dstore.fsspec import DstoreFileSystem
from fsspec.core import OpenFile

CONTENT = b"".join(b"line %d\n" % number for number in range(40_000))


@pytest.fixture(scope="module")
def client() -> Iterator[dstore.Client]:
    with dstore.testing.Cluster(nodes=3) as network, network.client(scheme="2+1") as client:
        client.put("lines", CONTENT)
        yield client


@pytest.fixture
def fs(client: dstore.Client) -> Iterator[DstoreFileSystem]:
    fs = DstoreFileSystem(client=client)
    yield fs
    for path in fs.find(""):
        if path != "lines":
            fs.rm_file(path)


CACHES = [None, "none", "readahead", "bytes", "blockcache", "first", "mmap", "background", "all", "readahead_chunked"]


@pytest.mark.parametrize("cache", [cache for cache in CACHES if cache is None or cache in fsspec.caching.caches])
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # fsspec leaves the file of its mmap cache open
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_every_cache_reads_the_same_bytes(fs: DstoreFileSystem, cache: str | None) -> None:
    options: dict[str, Any] = {} if cache is None else {"cache_type": cache}
    with fs.open("lines", block_size=10_000, **options) as file:
        assert (file.readable(), file.seekable(), file.writable(), file.mode) == (True, True, False, "rb")
        assert (file.size, file.path, file.info()["version"]) == (len(CONTENT), "lines", 1)
        assert file.read(5) == CONTENT[:5]
        assert file.tell() == 5
        assert file.seek(-20_000, os.SEEK_END) == len(CONTENT) - 20_000
        assert file.read(19_000) == CONTENT[-20_000:-1_000]
        assert file.read() == CONTENT[-1_000:]
        assert file.read(1) == b""
        file.seek(100_003)
        assert file.readline() == CONTENT[100_003:].split(b"\n")[0] + b"\n"
        target = bytearray(30_000)
        assert file.seek(7) == 7
        assert file.readinto(target) == 30_000
        assert target == CONTENT[7:30_007]
        file.seek(0)
        assert b"".join(file) == CONTENT
    assert file.closed


def test_parts_that_are_known_are_not_fetched(fs: DstoreFileSystem) -> None:
    known = {"data": {(0, 4): b"KNOW"}}
    with fs.open("lines", cache_type="parts", cache_options=known) as file:
        assert file.read(4) == b"KNOW"
        with pytest.raises(ValueError):
            file.read(4)


def test_large_and_small_reads_follow_one_another(fs: DstoreFileSystem) -> None:
    with fs.open("lines", block_size=1000) as file:
        position = 0
        for size in [10, 5_000, 999, 1_000, 1_001, 3, 100_000]:
            assert file.read(size) == CONTENT[position : position + size]
            position += size
            assert file.tell() == position
        assert file.peek(1)[:1] == CONTENT[position : position + 1]
        assert file.read(None) == CONTENT[position:]


@pytest.mark.parametrize("cache", [None, "readahead"])
def test_an_opened_file_reads_one_version(fs: DstoreFileSystem, cache: str | None) -> None:
    fs.pipe_file("a", b"1" * 200_000)
    with fs.open("a", cache_type=cache, block_size=1000) as file:
        opened = fs.info("a")
        assert file.read(10) == b"1" * 10
        fs.pipe_file("a", b"2" * 200_000)
        assert file.read() == b"1" * 199_990
        assert file.info() == opened
    assert fs.cat_file("a", 0, 1) == b"2"


def test_text_is_read_and_written(fs: DstoreFileSystem) -> None:
    with fs.open("a", "w", encoding="latin-1", newline="\r\n") as file:
        file.write("één\ntwee\n")
    assert fs.cat_file("a") == "één\r\ntwee\r\n".encode("latin-1")
    with fs.open("a", "r", encoding="latin-1") as file:
        assert file.readlines() == ["één\n", "twee\n"]
    assert fs.read_text("a", encoding="latin-1") == "één\ntwee\n"
    fs.write_text("b", "x")
    assert fs.read_text("b") == "x"


def test_compression_goes_by_name(fs: DstoreFileSystem) -> None:
    with fs.open("a.gz", "wb", compression="infer") as file:
        assert file.write(b"zipped") == 6
    assert gzip.decompress(fs.cat_file("a.gz")) == b"zipped"
    with fs.open("a.gz", compression="infer") as file:
        assert file.read() == b"zipped"
    with fs.open("b.xz", "w", compression="xz") as file:
        file.write("text")
    with fs.open("b.xz", "r", compression="xz") as file:
        assert file.read() == "text"
    with fs.open("c", "wb", compression="infer") as file:
        file.write(b"plain")
    assert fs.cat_file("c") == b"plain"


def test_a_file_is_stored_when_it_is_closed(fs: DstoreFileSystem) -> None:
    file = fs.open("a", "wb", attributes={"colour": "red"})
    file.write(CONTENT)
    assert not fs.exists("a")
    file.close()
    file.close()
    assert fs.cat_file("a") == CONTENT
    assert fs.info("a")["attributes"] == {"colour": "red"}
    with pytest.raises(ValueError, match="closed"):
        file.write(b"")
    fs.touch("b")
    assert fs.size("b") == 0


class Holder:
    """Closes what it holds, whatever happened: as pandas and pyarrow do."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def __enter__(self) -> Any:
        return self.file

    def __exit__(self, *args: object) -> None:
        self.file.close()


def stacked(file: Any) -> Any:
    stack = contextlib.ExitStack()
    stack.enter_context(contextlib.closing(file))
    return Pair(stack, file)


class Pair:
    def __init__(self, stack: contextlib.ExitStack, file: Any) -> None:
        self.stack, self.file = stack, file

    def __enter__(self) -> Any:
        self.stack.__enter__()
        return self.file

    def __exit__(self, *error: object) -> None:
        self.stack.__exit__(*cast("Any", error))


BLOCKS: dict[str, Callable[[DstoreFileSystem], Any]] = {
    "binary": lambda fs: fs.open("a", "wb"),
    "exclusive": lambda fs: fs.open("a", "xb"),
    "text": lambda fs: fs.open("a", "w"),
    "compressed": lambda fs: fs.open("a", "wb", compression="gzip"),
    "compressed text": lambda fs: fs.open("a", "w", compression="gzip"),
    "OpenFile": lambda fs: OpenFile(fs, "a", "wb"),
    "OpenFile text": lambda fs: OpenFile(fs, "a", "w"),
    "OpenFile compressed": lambda fs: OpenFile(fs, "a", "wb", compression="gzip"),
    "OpenFile compressed text": lambda fs: OpenFile(fs, "a", "w", compression="gzip"),
    "somebody's": lambda fs: Holder(fs.open("a", "wb")),
    "somebody's text": lambda fs: Holder(fs.open("a", "w")),
    "stack": lambda fs: stacked(fs.open("a", "wb")),
}


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_that_ends_well_stores_the_file(fs: DstoreFileSystem, block: str) -> None:
    with BLOCKS[block](fs) as file:
        file.write("half" if "text" in block else b"half")
    content = fs.cat_file("a")
    assert (gzip.decompress(content) if "compressed" in block else content) == b"half"


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.filterwarnings("error")
def test_a_block_that_ends_with_an_exception_stores_nothing(fs: DstoreFileSystem, block: str) -> None:
    with pytest.raises(KeyError), BLOCKS[block](fs) as file:
        file.write("half" if "text" in block else b"half")
        raise KeyError
    gc.collect()
    assert not fs.exists("a")


def test_a_file_that_is_stored_because_of_an_exception_is_stored(fs: DstoreFileSystem) -> None:
    class Reporting:
        def __enter__(self) -> None:
            pass

        def __exit__(self, *error: object) -> None:
            file = fs.open("report", "wb")
            file.write(b"KeyError")
            file.close()
            with OpenFile(fs, "text", "w") as text:
                text.write("KeyError")

    with pytest.raises(KeyError), Reporting():
        raise KeyError
    try:
        raise KeyError
    except KeyError:
        with OpenFile(fs, "handled", "wb") as file:
            file.write(b"KeyError")
    assert fs.cat(["report", "text", "handled"]) == dict.fromkeys(["report", "text", "handled"], b"KeyError")


def test_a_file_that_nobody_closes_is_not_stored(fs: DstoreFileSystem) -> None:
    file: Any = fs.open("a", "wb")
    file.write(b"half")
    with pytest.warns(ResourceWarning):
        del file
        gc.collect()
    text: Any = fs.open("b", "w")
    text.write("half")
    del text
    gc.collect()
    assert fs.find("") == ["lines"]


def test_exclusive_creation_is_refused_early_and_late(fs: DstoreFileSystem) -> None:
    with pytest.raises(FileExistsError) as refused:
        fs.open("lines", "xb")
    assert refused.value.filename == "lines"
    file = fs.open("a", "x")
    file.write("late")
    fs.pipe_file("a", b"early")
    with pytest.raises(dstore.AlreadyExists):
        file.close()
    assert fs.cat_file("a") == b"early"


@pytest.mark.parametrize("mode", ["ab", "a", "r+b", "w+", "wxb"])
def test_nothing_is_appended_or_changed(fs: DstoreFileSystem, mode: str) -> None:
    with pytest.raises(NotImplementedError, match="stored whole"):
        fs.open("lines", mode)


def test_a_transaction_stores_all_files_at_its_end(fs: DstoreFileSystem) -> None:
    with fs.transaction:
        with fs.open("a", "wb") as file:
            file.write(b"1")
        with fs.open("b", "w") as text:
            text.write("2")
        assert not fs.exists("a")
        assert not fs.exists("b")
    assert fs.cat(["a", "b"]) == {"a": b"1", "b": b"2"}


def test_a_transaction_that_ends_with_an_exception_stores_nothing(fs: DstoreFileSystem) -> None:
    with pytest.raises(KeyError), fs.transaction:
        with fs.open("a", "wb") as file:
            file.write(b"1")
        raise KeyError
    with fs.transaction:
        with contextlib.suppress(KeyError), fs.open("b", "wb") as file:
            file.write(b"1")
            raise KeyError
        with fs.open("c", "wb") as file:
            file.write(b"1")
    assert not fs.exists("a")
    assert not fs.exists("b")
    assert fs.exists("c")


def test_a_file_over_a_lent_client_is_not_pickled(fs: DstoreFileSystem) -> None:
    for what in [fs, fs.open("lines"), OpenFile(fs, "lines")]:
        with pytest.raises(TypeError, match="client="):
            pickle.dumps(what)
