"""What type checkers say of the package, its stubs, and code that uses it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dstore
import dstore._dstore
import pytest

FOLDER = Path(__file__).resolve().parents[1]
PACKAGE = FOLDER / "python" / "dstore"
INSTALLED = Path(dstore.__file__).parent
HANGS = 600

USES = """
import asyncio
import io
from pathlib import Path
from typing import assert_type

import dstore
import dstore.testing


def blocking(client: dstore.Client, data: bytearray) -> None:
    assert_type(client.put("a", data, mode="create"), dstore.Committed)
    client.put("a", memoryview(data), if_version=1, scheme="2+4", attributes={"a": "b"})
    client.put("a", Path("local"), progress=print, on_warning=lambda warning: print(warning.code))
    client.put("a", io.BytesIO(b""))
    client.put("a", [b"", bytearray(), memoryview(b"")])
    client.put("a", (bytes([i]) for i in range(3)))
    assert_type(client.get("a").bytes(), bytes)
    assert_type(client.get("a", start=1).ranges([(0, 1)]), list[bytes])
    assert_type(client.open("a"), io.BufferedReader)
    assert_type(client.open("a", "rb", 0), dstore.Reader)
    assert_type(client.open("a", buffering=0, start=7), dstore.Reader)
    assert_type(client.open("a", "wb", if_version=1), dstore.Writer)
    assert_type([head.path for head in client.list()], list[str])
    assert_type(client.history("a")[0].head, dstore.Head | None)
    with client as same, client.get("a").reader() as reader:
        assert_type(same, dstore.Client)
        assert_type(reader, dstore.Reader)
    for piece in client.get("a"):
        piece.tobytes()


async def awaiting(client: dstore.Client, reader: asyncio.StreamReader) -> None:
    assert_type(await client.put_async("a", b""), dstore.Committed)
    await client.put_async("a", reader)
    one, other = await asyncio.gather(client.head_async("a"), client.exists_async("a"))
    assert_type(one, dstore.Head)
    assert_type(other, bool)
    assert_type(await asyncio.wait_for(client.get("a").bytes_async(), 1), bytes)
    assert_type(await client.open_async("a", "xb"), dstore.Writer)
    async with dstore.testing.Cluster() as network, network.client(timeout=1) as same:
        assert_type(same, dstore.Client)
    async for piece in client.get("a"):
        piece.tobytes()
    async for head in client.list():
        assert_type(head, dstore.Head)


def caught(error: dstore.VersionConflict) -> None:
    assert_type(error.expected, int)
    assert_type(error.code, str)
    builtin: FileExistsError = error
    print(builtin.errno)
"""

REFUSED = {
    "a str for bytes": 'client.put("a", "text")',
    "an iterator of texts": 'client.put("a", iter(["text"]))',
    "an async iterator without asyncio": 'client.put("a", pieces())',
    "a mode that is none": 'client.put("a", b"", mode="append")',
    "a keyword that is none": 'client.put("a", b"", overwrite=True)',
    "a keyword of a put for a read": 'client.open("a", "rb", scheme="4+2")',
    "a text mode": 'client.open("a", "r")',
    "a mode beside that of open": 'client.open("a", "wb", mode="create")',
    "a client without a ledger": "dstore.Client(owner=owner)",
    "a field that is read-only": 'client.head("a").size = 1',
    "a detail that an exception has not": "dstore.Busy('').version",
    "a class of its own": "class Mine(dstore.Client): pass",
}


def mypy(*arguments: str | Path, where: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", FOLDER / "pyproject.toml", "--cache-dir", where, *arguments],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS,
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mypy")


def test_code_that_uses_the_package_has_the_types_that_it_expects(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "uses.py").write_text(USES)
    checked = mypy(tmp_path / "uses.py", where=cache)
    assert checked.returncode == 0, checked.stdout


def test_a_mistake_is_found_before_the_program_runs(tmp_path: Path, cache: Path) -> None:
    head = [
        "from collections.abc import AsyncIterator",
        "import dstore",
        "async def pieces() -> AsyncIterator[bytes]:",
        "    yield b''",
        "def use(client: dstore.Client, owner: dstore.Owner) -> None:",
    ]
    (tmp_path / "mistakes.py").write_text("\n".join([*head, *(f"    {code}" for code in REFUSED.values())]) + "\n")
    checked = mypy("--hide-error-context", tmp_path / "mistakes.py", where=cache)
    lines = {int(line.split(":")[1]) for line in checked.stdout.splitlines() if ": error: " in line}
    first = len(head) + 1
    assert {what for number, what in enumerate(REFUSED, first) if number not in lines} == set(), checked.stdout
    assert min(lines) >= first, checked.stdout


def test_the_package_and_its_examples_pass_the_strict_checks_of_mypy(cache: Path) -> None:
    checked = mypy(PACKAGE, FOLDER / "examples", where=cache)
    assert checked.returncode == 0, checked.stdout


def test_the_stubs_say_what_is_there() -> None:
    checked = subprocess.run(
        [
            *(sys.executable, "-m", "mypy.stubtest", "dstore"),
            *("--mypy-config-file", FOLDER / "pyproject.toml", "--allowlist", FOLDER / "stubtest-allowlist.txt"),
        ],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS,
    )
    assert checked.returncode == 0, checked.stdout


def test_the_package_says_that_it_is_typed() -> None:
    assert (INSTALLED / "py.typed").is_file()
    assert (INSTALLED / "_dstore.pyi").is_file()


def test_every_code_word_has_one_exception() -> None:
    kinds = [kind for kind in vars(dstore).values() if isinstance(kind, type) and issubclass(kind, dstore.DstoreError)]
    words = [kind.code for kind in kinds if kind is not dstore.DstoreError]
    assert sorted(words) == sorted([*dstore._dstore.CODES, "forked"])
