"""What `dstore.fsspec` answers and does, over a network in memory."""

# fsspec has no types.
# What is written before an exception belongs into the block.
# mypy: disable-error-code="import-untyped, misc, no-untyped-call"

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dstore
import dstore.testing
import fsspec
import pytest
from dstore.fsspec import TOGETHER, DstoreFileSystem
from fsspec.callbacks import Callback
from fsspec.implementations.local import LocalFileSystem

CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def network() -> Iterator[dstore.testing.Cluster]:
    with dstore.testing.Cluster(nodes=3) as network:
        yield network


@pytest.fixture
def client(network: dstore.testing.Cluster) -> Iterator[dstore.Client]:
    with network.client(scheme="2+1") as client:
        yield client


@pytest.fixture
def fs(client: dstore.Client) -> DstoreFileSystem:
    return DstoreFileSystem(client=client)


TREE = ["a.txt", "b/c.txt", "b/d/e.bin", "b/d/f.txt", "b/g/h/i.txt", "bb/j.txt", "k/l.bin"]


@pytest.fixture
def tree(fs: DstoreFileSystem) -> DstoreFileSystem:
    fs.pipe({path: path.encode() for path in TREE})
    return fs


# What is there


def test_info_says_what_head_says(fs: DstoreFileSystem, client: dstore.Client) -> None:
    fs.pipe_file("a/b.bin", CONTENT, attributes={"colour": "red"}, scheme="1+2")
    head = client.head("a/b.bin")
    info = fs.info("dstore://a/b.bin")
    assert (info["name"], info["type"], info["size"]) == ("a/b.bin", "file", len(CONTENT))
    assert (info["version"], info["content_hash"], info["file_id"]) == (1, head.content_hash, head.file_id)
    assert (info["scheme"], info["attributes"], info["padded"]) == ("1+2", {"colour": "red"}, head.padded)
    assert info["created"] == head.created == fs.created("a/b.bin") == fs.modified("a/b.bin")
    assert info["mtime"] == head.created.timestamp()
    assert fs.checksum("a/b.bin") == int(fs.ukey("a/b.bin"), 16) == int(head.content_hash, 16)


def test_a_checksum_changes_with_the_content_only(fs: DstoreFileSystem) -> None:
    fs.pipe_file("a", b"one")
    first = fs.ukey("a")
    fs.pipe_file("a", b"one")
    assert fs.ukey("a") == first
    fs.pipe_file("a", b"two")
    assert fs.ukey("a") != first


def test_a_directory_is_there_while_files_are_below_it(fs: DstoreFileSystem) -> None:
    fs.mkdir("a")
    fs.makedirs("a/b", exist_ok=True)
    assert not fs.exists("a")
    assert not fs.isdir("a")
    fs.pipe_file("a/b/c", b"")
    assert fs.isdir("a")
    assert fs.isdir("/a/b/")
    assert fs.exists("a")
    assert not fs.isfile("a")
    assert not fs.isdir("a/b/c")
    assert fs.info("a") == {"name": "a", "size": 0, "type": "directory"}
    with pytest.raises(OSError, match="not empty"):
        fs.rmdir("a")
    fs.rm_file("a/b/c")
    fs.rmdir("a")
    assert not fs.exists("a")
    assert fs.isdir("")
    assert fs.ls("") == []
    assert fs.exists("dstore://")


def test_the_beginning_of_a_name_is_no_directory(fs: DstoreFileSystem) -> None:
    fs.pipe_file("abc/d", b"")
    assert fs.exists("abc/")
    assert not fs.exists("ab")
    with pytest.raises(FileNotFoundError):
        fs.ls("ab")


@pytest.mark.parametrize(
    "call",
    [
        lambda fs: fs.info("no"),
        lambda fs: fs.ls("no"),
        lambda fs: fs.size("no"),
        lambda fs: fs.created("no"),
        lambda fs: fs.modified("no"),
        lambda fs: fs.ukey("no"),
        lambda fs: fs.cat("no"),
        lambda fs: fs.cat("no", recursive=True),
        lambda fs: fs.cat_file("no"),
        lambda fs: fs.cat_file("no", -5),
        lambda fs: fs.cat_ranges(["no", "no"], 0, 5, on_error="raise"),
        lambda fs: fs.open("no"),
        lambda fs: fs.open("no", "r"),
        lambda fs: fs.open("no", cache_type="bytes"),
        lambda fs: fs.get("no", "here"),
        lambda fs: fs.get_file("no", "here"),
        lambda fs: fs.cp_file("no", "there"),
        lambda fs: fs.copy("no", "there"),
        lambda fs: fs.mv("no", "there"),
        lambda fs: fs.mv("no", "there", recursive=True),
        lambda fs: fs.rm("no"),
        lambda fs: fs.rm("no", recursive=True),
        lambda fs: fs.rm_file("no"),
    ],
)
def test_what_is_not_there_is_not_found(fs: DstoreFileSystem, call: Any) -> None:
    fs.pipe_file("not", b"")
    with pytest.raises(FileNotFoundError):
        call(fs)
    assert not fs.exists("no")
    assert not fs.isfile("no")
    assert not fs.isdir("no")
    assert fs.find("no") == []


PATTERNS = ["*", "**", "b*", "b/*", "b/**", "*/", "**/*.txt", "b/[dg]/*", "?/*", "b/**/i.txt", "a.txt", "x*", "b/"]


def test_listings_are_as_those_of_a_local_folder(fs: DstoreFileSystem, tmp_path: Path) -> None:
    local = LocalFileSystem(auto_mkdir=True)
    root = f"{tmp_path.as_posix()}/"
    fs.pipe({f"top/{path}": path.encode() for path in TREE})
    local.pipe({f"{root}top/{path}": path.encode() for path in TREE})

    def there(method: Any, path: str, **options: Any) -> Any:
        return [name.removeprefix(root) for name in method(root + path, **options)]

    def steps(method: Any, path: str, **options: Any) -> Any:
        return sorted(
            (top.removeprefix(root), sorted(dirs), sorted(files)) for top, dirs, files in method(path, **options)
        )

    for depth in [None, 1, 2]:
        for pattern in PATTERNS:
            assert fs.glob(f"top/{pattern}", maxdepth=depth) == there(local.glob, f"top/{pattern}", maxdepth=depth), (
                pattern
            )
        for path in ["top", "top/b", "top/b/d", "top/a.txt"]:
            assert fs.ls(path, detail=False) == sorted(there(local.ls, path, detail=False))
            assert fs.du(path, maxdepth=depth) == local.du(root + path, maxdepth=depth)
            for flag in [False, True]:
                options = {"maxdepth": depth, "withdirs": flag}
                assert fs.find(path, **options) == there(local.find, path, **options)
                options = {"maxdepth": depth, "topdown": flag}
                assert steps(fs.walk, path, **options) == steps(local.walk, root + path, **options)
    assert fs.expand_path("top", recursive=True) == there(local.expand_path, "top", recursive=True)


def test_find_gives_the_details_of_files_and_directories(tree: DstoreFileSystem) -> None:
    found = tree.find("b", withdirs=True, detail=True)
    assert found["b/d/e.bin"] == tree.info("b/d/e.bin")
    assert found["b/g/h"] == tree.info("b/g/h")
    assert tree.du("b", total=False)["b/c.txt"] == len("b/c.txt")
    assert tree.find("b/", prefix="d") == ["b/d/e.bin", "b/d/f.txt"]


def test_a_walk_ends_with_an_error_only_if_it_is_to(tree: DstoreFileSystem) -> None:
    assert list(tree.walk("no")) == [("no", [], [])]
    with pytest.raises(FileNotFoundError):
        list(tree.walk("no", on_error="raise"))


def test_a_file_and_a_directory_may_have_one_name(fs: DstoreFileSystem) -> None:
    fs.pipe({"a": b"file", "a/b": b"below"})
    assert fs.isfile("a")
    assert fs.info("a")["type"] == "file"
    assert fs.ls("a", detail=False) == ["a/b"]
    assert fs.cat_file("a") == b"file"
    fs.rm("a", recursive=True)
    assert fs.find("") == []


# Reading


def test_a_range_is_a_slice(fs: DstoreFileSystem) -> None:
    content = bytes(range(100))
    fs.pipe_file("a", content)
    fs.pipe_file("empty", b"")
    bounds = [None, 0, 1, 40, 99, 100, 500, -1, -40, -100, -500]
    for start in bounds:
        for end in bounds:
            assert fs.cat_file("a", start, end) == content[start:end], (start, end)
            assert fs.cat_file("empty", start, end) == b""
    everything = [(start, end) for start in bounds for end in bounds]
    starts, ends = zip(*everything, strict=False)
    assert fs.cat_ranges(["a"] * len(starts), starts, ends) == [content[start:end] for start, end in everything]
    assert fs.head("a", 3) == content[:3]
    assert fs.tail("a", 3) == content[-3:]


def test_ranges_of_several_files_come_in_order_with_the_errors_in_their_places(fs: DstoreFileSystem) -> None:
    fs.pipe({"a": b"0123456789", "b": b"abcdef"})
    first, missing, second, third = fs.cat_ranges(["a", "no", "b", "dstore://a"], [1, 0, -2, 8], [3, 5, None, 100])
    assert (first, second, third) == (b"12", b"ef", b"89")
    assert isinstance(missing, FileNotFoundError)
    assert fs.cat_ranges(["a", "b"], 0, 2, max_gap=100) == [b"01", b"ab"]
    with pytest.raises(ValueError, match="one length"):
        fs.cat_ranges(["a"], [1, 2], [3, 4])


def test_ranges_may_be_larger_together_than_the_memory(network: dstore.testing.Cluster) -> None:
    with network.client(memory=16 << 20) as client:
        fs = DstoreFileSystem(client=client)
        content = bytes(1000) + CONTENT * 100
        fs.pipe_file("a", content)
        parts = [(0, TOGETHER - 10), (5, 100), (1, TOGETHER), (3, TOGETHER * 2), (7, TOGETHER)]
        starts, ends = zip(*parts, strict=False)
        assert fs.cat_ranges(["a"] * len(parts), starts, ends) == [content[start:end] for start, end in parts]


def test_many_files_are_read_at_once(tree: DstoreFileSystem) -> None:
    assert tree.cat("b", recursive=True) == {path: path.encode() for path in TREE if path.startswith("b/")}
    assert tree.cat("*.txt") == {"a.txt": b"a.txt"}
    assert tree.cat(["a.txt", "k/l.bin"]) == {"a.txt": b"a.txt", "k/l.bin": b"k/l.bin"}
    found = tree.cat(["a.txt", "no"], on_error="return")
    assert found["a.txt"] == b"a.txt"
    assert isinstance(found["no"], FileNotFoundError)
    assert tree.cat(["a.txt", "no"], on_error="omit") == {"a.txt": b"a.txt"}
    with pytest.raises(FileNotFoundError):
        tree.cat(["a.txt", "no"])


def test_a_mapping_reads_and_writes_files(fs: DstoreFileSystem) -> None:
    mapping = fs.get_mapper("root")
    mapping["a/b"] = b"1"
    mapping.setitems({"c": b"2", "d": b"3"})
    assert sorted(mapping) == ["a/b", "c", "d"]
    assert mapping.getitems(["c", "d"]) == {"c": b"2", "d": b"3"}
    del mapping["c"]
    assert "c" not in mapping
    with pytest.raises(KeyError):
        mapping["c"]
    mapping.clear()
    assert fs.find("") == []


# Writing


def test_pipe_creates_only_where_nothing_is(fs: DstoreFileSystem) -> None:
    fs.pipe_file("a", b"1", mode="create")
    with pytest.raises(dstore.AlreadyExists):
        fs.pipe_file("a", b"2", mode="create")
    with pytest.raises(dstore.VersionConflict):
        fs.pipe_file("a", b"2", mode="update", if_version=7)
    assert fs.cat_file("a") == b"1"


def test_a_path_that_is_none_is_refused(fs: DstoreFileSystem) -> None:
    for path in ["a//b", "a/../b", "", "dstore://"]:
        with pytest.raises(dstore.InvalidPath):
            fs.pipe_file(path, b"")


def test_callbacks_are_told_the_size_and_every_byte(fs: DstoreFileSystem, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(CONTENT)
    for transfer in [
        lambda callback: fs.put_file(tmp_path / "source", "a", callback=callback),
        lambda callback: fs.get_file("a", tmp_path / "target", callback=callback),
        lambda callback: fs.get_file("a", io.BytesIO(), callback=callback),
    ]:
        seen: list[tuple[int | None, int]] = []
        callback = Callback(hooks={"see": lambda size, value, seen=seen, **_: seen.append((size, value))})
        transfer(callback)
        assert seen[-1] == (len(CONTENT), len(CONTENT))
        assert callback.size == callback.value == len(CONTENT)
        assert [value for _, value in seen] == sorted(value for _, value in seen)
    assert (tmp_path / "target").read_bytes() == CONTENT


def test_the_callback_of_many_files_counts_them(fs: DstoreFileSystem, tmp_path: Path) -> None:
    for name in "xyz":
        (tmp_path / name).write_bytes(name.encode())
    callback = Callback()
    fs.put(f"{tmp_path}/", "there/", recursive=True, callback=callback)
    assert (callback.size, callback.value) == (3, 3)
    assert fs.find("") == ["there/x", "there/y", "there/z"]


def test_a_callback_that_raises_ends_the_transfer(fs: DstoreFileSystem, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(CONTENT)

    def refuse(size: int | None, value: int, **_: Any) -> None:
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        fs.put_file(tmp_path / "source", "a", callback=Callback(hooks={"refuse": refuse}))


def test_a_copy_leaves_the_source_and_may_not_replace_if_told_so(fs: DstoreFileSystem) -> None:
    fs.pipe({"a": b"1", "b": b"2"})
    fs.cp_file("a", "c/d")
    assert fs.cat(["a", "c/d"]) == {"a": b"1", "c/d": b"1"}
    with pytest.raises(FileExistsError):
        fs.cp_file("a", "b", mode="create")
    fs.cp_file("a", "b")
    assert fs.cat_file("b") == b"1"


def test_a_move_moves_the_record_and_no_shard(fs: DstoreFileSystem, client: dstore.Client) -> None:
    fs.pipe_file("a", CONTENT)
    before = client.head("a")
    fs.mv("a", "b/c")
    after = client.head("b/c")
    assert (after.shards, after.created) == (before.shards, before.created)
    assert fs.find("") == ["b/c"]
    fs.mv("b/c", "b/c")
    assert fs.cat_file("b/c") == CONTENT


def test_a_move_replaces_what_is_there(fs: DstoreFileSystem) -> None:
    fs.pipe({"a": b"new", "b": b"old"})
    fs.mv("a", "b")
    assert fs.cat("", recursive=True) == {"b": b"new"}


def test_a_directory_moves_with_all_its_files(tree: DstoreFileSystem) -> None:
    with pytest.raises(IsADirectoryError):
        tree.mv("b", "new")
    assert tree.find("") == TREE
    tree.mv("b", "new", recursive=True)
    moved = {path: path.encode() for path in TREE}
    moved = {f"new/{path.removeprefix('b/')}" if path.startswith("b/") else path: moved[path] for path in moved}
    assert tree.cat("", recursive=True) == moved


def test_only_rm_with_recursive_removes_directories(tree: DstoreFileSystem) -> None:
    for remove in [tree.rm, tree.rm_file]:
        with pytest.raises(IsADirectoryError):
            remove("b")
    assert tree.find("") == TREE
    tree.rm("b/d/*")
    tree.rm("bb", recursive=True)
    assert tree.find("") == ["a.txt", "b/c.txt", "b/g/h/i.txt", "k/l.bin"]
    tree.rm(["a.txt", "k"], recursive=True)
    tree.rm("b", recursive=True, maxdepth=1)
    assert tree.find("") == ["b/g/h/i.txt"]


# asyncio


def test_an_asynchronous_instance_is_awaited(client: dstore.Client) -> None:
    async def run() -> None:
        fs = DstoreFileSystem(client=client, asynchronous=True)
        await fs._pipe({"a/b": b"1", "a/c": b"2"})
        assert await fs._cat("a", recursive=True) == {"a/b": b"1", "a/c": b"2"}
        assert [step async for step in fs._walk("a")] == [("a", [], ["b", "c"])]
        with pytest.raises(RuntimeError, match="await"):
            fs.cat("a/b")
        with pytest.raises(RuntimeError, match="await"):
            list(fs.walk("a"))

    asyncio.run(run())


def test_files_are_opened_for_asyncio(client: dstore.Client) -> None:
    async def run() -> None:
        fs = DstoreFileSystem(client=client, asynchronous=True)
        async with await fs.open_async("a", "wb") as file:
            assert await file.write(b"0123") == 4
            assert file.tell() == 4
        async with await fs.open_async("a") as file:
            assert (await file.read(2), file.seek(-1, 2), await file.read(), file.size) == (b"01", 3, b"3", 4)
        assert file.closed
        with pytest.raises(KeyError):
            async with await fs.open_async("b", "wb") as file:
                await file.write(b"half")
                raise KeyError
        assert not await fs._exists("b")
        for mode, error in [("xb", FileExistsError), ("ab", NotImplementedError), ("r", ValueError)]:
            with pytest.raises(error):
                await fs.open_async("a", mode)

    asyncio.run(run())


def test_both_kinds_of_methods_have_the_same_names() -> None:
    for name in ["cat", "mv", "created", "modified", "ukey", "checksum", "rmdir", "du", "walk", "cat_ranges"]:
        assert getattr(DstoreFileSystem, name) is not getattr(fsspec.AbstractFileSystem, name), name
        assert getattr(DstoreFileSystem, name).__doc__
