"""`dstore://` in other people's tools, with nothing but the environment: over a real registry and nodes."""

# fsspec has no types.
# mypy: disable-error-code="import-untyped, misc, no-untyped-call"

import multiprocessing
import os
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dstore
import fsspec
import fsspec.generic
import numpy as np
import pandas as pd
import pyarrow.dataset
import pyarrow.parquet
import pytest
from dstore.fsspec import DstoreFileSystem
from network import Network

pytest_plugins = ["network"]

if "dstore" not in fsspec.available_protocols():
    fsspec.register_implementation("dstore", DstoreFileSystem)


def clear(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("DSTORE_", "ETH_", "ALCHEMY_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module", autouse=True)
def here(dstore_cli: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as monkeypatch:
        registry = stack.enter_context(dstore.Registry(dir=home / "registry"))
        for number in range(3):
            node = dstore.StorageNode(dir=home / f"node-{number}", registry=registry.address, free_floor=0)
            stack.enter_context(node)
        dstore.Owner.create(home / "key")
        (home / "client").mkdir()
        clear(monkeypatch)
        monkeypatch.setenv("DSTORE_DIR", str(home / "client"))
        monkeypatch.setenv("DSTORE_REGISTRY", registry.address)
        monkeypatch.setenv("DSTORE_SCHEME", "2+1")
        monkeypatch.setenv("ETH_PRIVATE_KEY_FILE", str(home / "key"))
        yield home
        fsspec.filesystem("dstore").close()


FRAME = pd.DataFrame(
    {"number": range(5000), "text": [f"line {n}" for n in range(5000)], "group": [n % 3 for n in range(5000)]}
)


def test_pandas_writes_and_reads_parquet() -> None:
    FRAME.to_parquet("dstore://frames/a.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet("dstore://frames/a.parquet"), FRAME)
    only = pd.read_parquet("dstore://frames/a.parquet", columns=["number"], filters=[("number", "<", 10)])
    assert list(only["number"]) == list(range(10))


def test_pandas_writes_and_reads_csv() -> None:
    for path in ["dstore://frames/a.csv", "dstore://frames/a.csv.gz"]:
        FRAME.to_csv(path, index=False)
        pd.testing.assert_frame_equal(pd.read_csv(path), FRAME)
    options = {"dir": os.environ["DSTORE_DIR"], "scheme": "1+1"}
    FRAME.to_csv("dstore://frames/b.csv", storage_options=options)
    assert fsspec.filesystem("dstore").info("frames/b.csv")["scheme"] == "1+1"


class Unwritable:
    def __str__(self) -> str:
        raise KeyError("unwritable")


def test_a_frame_that_cannot_be_written_replaces_nothing() -> None:
    fs = fsspec.filesystem("dstore")
    fs.pipe_file("frames/kept.csv", b"kept")
    frame = pd.DataFrame({"a": ["x"] * 50_000 + [Unwritable()]}, dtype=object)
    with pytest.raises(KeyError):
        frame.to_csv("dstore://frames/kept.csv", chunksize=1000)
    assert fs.cat_file("frames/kept.csv") == b"kept"


def test_numpy_saves_and_loads() -> None:
    array = np.arange(100_000).reshape(100, -1)
    with fsspec.open("dstore://arrays/a.npy", "wb") as file:
        np.save(file, array)
    with fsspec.open("dstore://arrays/a.npz", "wb") as file:
        np.savez(file, array=array, twice=array * 2)
    with fsspec.open("dstore://arrays/a.npy") as file:
        assert (np.load(file) == array).all()
    with fsspec.open("dstore://arrays/a.npz") as file:
        assert (np.load(file)["twice"] == array * 2).all()


def test_zip_files_are_written_and_read() -> None:
    with fsspec.open("dstore://a.zip", "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("one", b"1" * 100_000)
        archive.writestr("two", b"2")
    with fsspec.open("dstore://a.zip") as file, zipfile.ZipFile(file) as archive:
        assert archive.namelist() == ["one", "two"]
        assert archive.testzip() is None
        assert archive.read("one") == b"1" * 100_000
    assert fsspec.filesystem("zip", fo="dstore://a.zip").cat("two") == b"2"


def test_pyarrow_reads_and_writes_data_sets() -> None:
    fs = fsspec.filesystem("dstore")
    table = pyarrow.Table.from_pandas(FRAME)
    pyarrow.dataset.write_dataset(table, "sets/a", format="parquet", partitioning=["group"], filesystem=fs)
    found = pyarrow.dataset.dataset("sets/a", format="parquet", partitioning=["group"], filesystem=fs)
    assert found.count_rows() == 5000
    assert found.count_rows(filter=pyarrow.dataset.field("group") == 1) == 1667
    pyarrow.parquet.write_table(table, "sets/b.parquet", filesystem=fs)
    assert pyarrow.parquet.read_table("sets/b.parquet", filesystem=fs).equals(table)


def test_fsspec_s_own_layers_work_over_it(tmp_path: Path) -> None:
    with fsspec.open_files(["dstore://many/1", "dstore://many/2"], "w") as files:
        for file in files:
            file.write("text")
    with fsspec.open("simplecache::dstore://many/1", simplecache={"cache_storage": str(tmp_path / "cache")}) as file:
        assert file.read() == b"text"
    below = fsspec.filesystem("dir", path="many", fs=fsspec.filesystem("dstore"))
    assert below.ls("", detail=False) == ["1", "2"]
    fsspec.generic.rsync("dstore://many", f"file://{tmp_path}/synced")
    assert (tmp_path / "synced" / "2").read_text() == "text"


def read_elsewhere(pickled: bytes) -> bytes:
    with pickle.loads(pickled) as file:
        return bytes(file.read())


def test_another_process_reads_what_is_pickled_for_it() -> None:
    fs = fsspec.filesystem("dstore")
    fs.pipe_file("shared", b"0123456789")
    with fs.open("shared") as file:
        file.seek(4)
        pickled = [pickle.dumps(file), pickle.dumps(fsspec.core.OpenFile(fs, "shared"))]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(read_elsewhere, pickled) == [b"456789", b"0123456789"]


def test_the_command_line_and_fsspec_read_each_other_s_files(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    clear(monkeypatch)
    monkeypatch.setenv("HOME", str(network.home))
    monkeypatch.chdir(network.home)
    monkeypatch.setenv("DSTORE_DIR", str(network.client))
    content = os.urandom(300_000)
    network.put("from/cli.bin", content)
    with fsspec.open("dstore://from/cli.bin") as file:
        assert file.read() == content
    with fsspec.open("dstore://from/python.bin", "wb") as file:
        file.write(content[::-1])
    assert network.run("get", "from/python.bin", "-") == content[::-1]
    fs: Any = fsspec.filesystem("dstore", dir=str(network.client))
    assert fs.ls("from", detail=False) == ["from/cli.bin", "from/python.bin"]
    fs.close()
    fsspec.filesystem("dstore").close()
