"""What goes wrong arrives as one class for each cause, which is also the built-in exception that fits."""

from __future__ import annotations

import copy
import errno
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dstore
import dstore.testing
import pytest
from anvil import Anvil
from conftest import Call, Servers, noise
from dstore import _dstore
from dstore._exceptions import BY_CODE
from hypothesis import given
from hypothesis import strategies as st

pytest_plugins = ["anvil"]

BUILTIN = {
    "internal": RuntimeError,
    "invalid_path": ValueError,
    "too_large": ValueError,
    "not_found": FileNotFoundError,
    "unavailable": ConnectionError,
    "timeout": TimeoutError,
    "busy": OSError,
    "not_enough_nodes": ConnectionError,
    "not_enough_shards": ConnectionError,
    "no_space": OSError,
    "superseded": OSError,
    "unknown_outcome": OSError,
    "integrity": OSError,
    "unrecoverable": OSError,
    "permission_denied": PermissionError,
    "config": ValueError,
    "already_exists": FileExistsError,
    "version_conflict": FileExistsError,
    "insufficient_funds": OSError,
    "wrong_chain": OSError,
    "wrong_contract": OSError,
    "fee_too_high": OSError,
    "chain": OSError,
    "locked": BlockingIOError,
}
ERRNO = {
    "not_found": errno.ENOENT,
    "timeout": errno.ETIMEDOUT,
    "busy": errno.EBUSY,
    "no_space": errno.ENOSPC,
    "superseded": errno.ESTALE,
    "unknown_outcome": errno.EIO,
    "integrity": errno.EIO,
    "unrecoverable": errno.EIO,
    "permission_denied": errno.EACCES,
    "already_exists": errno.EEXIST,
    "version_conflict": errno.EEXIST,
    "locked": errno.EAGAIN,
    "chain": errno.EIO,
}
RETRYABLE = {
    "busy",
    "locked",
    "no_space",
    "not_enough_nodes",
    "not_enough_shards",
    "superseded",
    "timeout",
    "unavailable",
    "unknown_outcome",
}


@dataclass
class Scene:
    """Where something goes wrong."""

    call: Call
    cluster: dstore.testing.Cluster
    folder: Path
    request: pytest.FixtureRequest

    def client(self, **settings: Any) -> dstore.Client:
        return self.cluster.client(**settings)

    def stored(self) -> dstore.Client:
        """A client with a file."""
        client = self.client()
        self.call(client.put, "a", noise(100_000))
        return client

    @property
    def servers(self) -> Servers:
        return self.request.getfixturevalue("servers")  # type: ignore[no-any-return]

    @property
    def anvil(self) -> Anvil:
        return self.request.getfixturevalue("anvil")  # type: ignore[no-any-return]


@pytest.fixture
def scene(call: Call, cluster: dstore.testing.Cluster, tmp_path: Path, request: pytest.FixtureRequest) -> Scene:
    return Scene(call, cluster, tmp_path, request)


def internal(scene: Scene) -> Any:
    # A failure of this machine that has no word of its own.
    loop = scene.folder / "loop"
    loop.symlink_to(loop)
    scene.call(scene.client().upload, loop, "a")


def invalid_path(scene: Scene) -> Any:
    scene.call(scene.client().put, "/a", b"")


def too_large(scene: Scene) -> Any:
    scene.call(scene.client().put, "a", b"", attributes={"a": "b" * 3000})


def not_found(scene: Scene) -> Any:
    scene.call(scene.client().head, "a")


def unavailable(scene: Scene) -> Any:
    scene.cluster.kill_registry()
    scene.call(scene.client().put, "a", b"")


def timeout(scene: Scene) -> Any:
    scene.cluster.hang(1)
    scene.call(scene.client(timeout=0.2).node_info, scene.cluster.node_ids[1])


def busy(scene: Scene) -> Any:
    with dstore.Registry(min_nodes=1, max_nodes=1) as registry:
        options = {"registry": registry.address, "free_floor": 0, "registration_timeout": 0.3}
        with dstore.StorageNode(dir=scene.folder / "1", **{**options, "registration_timeout": 60}):
            scene.call(dstore.StorageNode(dir=scene.folder / "2", **options).start)


def not_enough_nodes(scene: Scene) -> Any:
    with dstore.testing.Cluster(nodes=2) as cluster:
        scene.call(cluster.client().put, "a", b"")


def not_enough_shards(scene: Scene) -> Any:
    client = scene.stored()
    scene.cluster.kill(0)
    scene.cluster.kill(1)
    scene.call(client.get("a").bytes)


def superseded(scene: Scene) -> Any:
    client = scene.client()
    scene.call(client.put, "a", noise(20_000_000))
    reader = scene.call.open(client, "a")
    scene.call(client.put, "a", b"newer")
    for index in range(3):
        scene.call(scene.cluster.wipe, index)
    reader.seek(15_000_000)
    scene.call(reader.read, 100)


def unknown_outcome(scene: Scene) -> Any:
    scene.cluster.ledger_fault("lose")
    scene.call(scene.client().put, "a", b"")


def integrity(scene: Scene) -> Any:
    path = scene.folder / "ledger.db"
    client = scene.servers.client(dstore.Owner.generate(), dstore.LocalLedger(path))
    scene.call(client.put, "a", b"content")
    with sqlite3.connect(path) as tampered:
        tampered.execute("UPDATE event SET record = zeroblob(length(record))")
    tampered.close()
    scene.call(client.head, "a")


def unrecoverable(scene: Scene) -> Any:
    client = scene.stored()
    scene.cluster.corrupt(0)
    scene.cluster.corrupt(1)
    scene.call(client.get("a").bytes)


def permission_denied(scene: Scene) -> Any:
    path = scene.folder / "owner.key"
    dstore.Owner.create(path)
    path.chmod(0)
    if os.geteuid() != 0:
        dstore.Owner.open(path)
    os.seteuid(65534)
    try:
        dstore.Owner.open(path)
    finally:
        os.seteuid(0)


FULL = """
import os, pickle, sys
import dstore
with open("filling", "wb") as filling, __import__("contextlib").suppress(OSError):
    while True:
        filling.write(bytes(1 << 16))
        filling.flush()
try:
    dstore.Owner.create("owner.key")
except dstore.DstoreError as error:
    sys.stdout.buffer.write(pickle.dumps(error))
"""


def no_space(scene: Scene) -> Any:
    script = 'mount -t tmpfs -o size=256k none "$1" && cd "$1" && exec "$2" -c "$3"'
    command = [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        script,
        "sh",
        scene.folder,
        sys.executable,
    ]
    if not shutil.which("unshare"):
        pytest.skip("no small disk can be made here")
    if subprocess.run([*command[:4], "true"], check=False, capture_output=True).returncode:
        pytest.skip("no small disk may be made here")
    child = subprocess.run([*command, FULL], check=True, capture_output=True)
    raise pickle.loads(child.stdout)


def config(scene: Scene) -> Any:
    scene.client(scheme="many")


def already_exists(scene: Scene) -> Any:
    scene.call(scene.stored().put, "a", b"", mode="create")


def version_conflict(scene: Scene) -> Any:
    scene.call(scene.stored().put, "a", b"", if_version=7)


def insufficient_funds(scene: Scene) -> Any:
    scene.call(scene.anvil.account(dstore.Owner.generate()).deploy)


def wrong_chain(scene: Scene) -> Any:
    scene.call(scene.anvil.account(dstore.Owner.generate(), chain="sepolia").deploy_cost)


def wrong_contract(scene: Scene) -> Any:
    ledger = scene.anvil.account(dstore.Owner.generate()).ledger("0x" + "09" * 20)
    scene.call(ledger.contract)


def fee_too_high(scene: Scene) -> Any:
    scene.call(scene.anvil.account(scene.anvil.rich_owner(), max_fee="0.000000001").deploy)


def chain(scene: Scene) -> Any:
    if scene.call.is_async:
        pytest.skip("a ledger that shows an older version is asked for seconds whether it means it: once is enough")
    owner = scene.anvil.rich_owner()
    account = scene.anvil.account(owner)
    client = scene.servers.client(owner, account.ledger(scene.call(account.deploy).contract))
    scene.call(client.put, "a", b"one")
    before = scene.anvil.ask("evm_snapshot")
    scene.call(client.put, "a", b"two")
    assert scene.call(client.head, "a").version == 2
    scene.anvil.ask("evm_revert", before)
    scene.call(client.head, "a")


def locked(scene: Scene) -> Any:
    with dstore.Registry(dir=scene.folder):
        scene.call(dstore.Registry(dir=scene.folder).start)


PROVOKED: dict[str, Callable[[Scene], Any]] = {
    provoke.__name__: provoke
    for provoke in (
        internal,
        invalid_path,
        too_large,
        not_found,
        unavailable,
        timeout,
        busy,
        not_enough_nodes,
        not_enough_shards,
        no_space,
        superseded,
        unknown_outcome,
        integrity,
        unrecoverable,
        permission_denied,
        config,
        already_exists,
        version_conflict,
        insufficient_funds,
        wrong_chain,
        wrong_contract,
        fee_too_high,
        chain,
        locked,
    )
}
NOT_PROVOKED: dict[str, str] = {}
"""Codes that nobody can cause from Python, and why."""


def state(error: dstore.DstoreError) -> Any:
    """All that an exception says."""
    numbers = (error.errno, error.strerror, error.filename) if isinstance(error, OSError) else ()
    return type(error), str(error), error.args, error.code, error.retryable, vars(error), numbers


def test_every_code_has_one_class_and_one_way_to_cause_it() -> None:
    codes = set(_dstore.CODES)
    assert set(BY_CODE) == codes | {"forked"}
    assert all(kind.code == code for code, kind in BY_CODE.items())
    assert set(PROVOKED) | set(NOT_PROVOKED) == codes
    assert set(PROVOKED) & set(NOT_PROVOKED) == set()
    public = {kind for kind in vars(dstore).values() if isinstance(kind, type) and issubclass(kind, dstore.DstoreError)}
    assert public == {dstore.DstoreError, *BY_CODE.values()}


@pytest.mark.parametrize("code", _dstore.CODES)
def test_a_class_is_also_the_builtin_exception_that_fits(code: str) -> None:
    kind = BY_CODE[code]
    assert issubclass(kind, dstore.DstoreError)
    assert issubclass(kind, BUILTIN[code])
    assert kind.retryable is (code in RETRYABLE)
    assert kind.__doc__
    assert kind.__module__ == "dstore"


@pytest.mark.parametrize("code", PROVOKED)
def test_each_failure_is_told_with_all_its_details_and_can_be_pickled(scene: Scene, code: str) -> None:
    with pytest.raises(dstore.DstoreError) as caught:
        PROVOKED[code](scene)
    error = caught.value
    assert type(error) is BY_CODE[code]
    assert isinstance(error, BUILTIN[code])
    assert (error.code, error.retryable) == (code, code in RETRYABLE)
    assert str(error) == error.message
    assert repr(error) == f"{type(error).__name__}({error.message!r})"
    if code in ERRNO:
        assert isinstance(error, OSError)
        assert error.errno == ERRNO[code]
        assert error.strerror == os.strerror(ERRNO[code])
    for name in type(error).__annotations__:
        assert getattr(error, name) is not None, name
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert state(again) == state(error)


def test_what_is_counted_and_named_in_an_error_is_an_attribute(
    call: Call, cluster: dstore.testing.Cluster, client: dstore.Client
) -> None:
    call(client.put, "a", noise(100_000))
    cluster.kill(0)
    cluster.kill(1)
    with pytest.raises(dstore.NotEnoughShards) as raised:
        call(client.get("a").bytes)
    error = raised.value
    assert (error.found, error.needed) == (2, 4)
    assert {cluster.index_of(fault.node) for fault in error.faults} == {0, 1}
    assert all(fault.shard is not None and fault.problem and fault.address in str(error) for fault in error.faults)
    with pytest.raises(dstore.TooLarge) as too_large:
        call(client.put, "b", b"", attributes={"a": "b" * 3000})
    assert too_large.value.size > too_large.value.limit == 2048
    with pytest.raises(dstore.NotEnoughNodes) as few:
        call(client.put, "b", noise(100_000), scheme="2+1", on_warning=print)
    assert few.value.needed >= 3


def test_causes_are_notes(call: Call, cluster: dstore.testing.Cluster, tmp_path: Path) -> None:
    with pytest.raises(dstore.NotFound) as raised:
        call(cluster.client().upload, tmp_path / "nothing", "a")
    assert any("os error 2" in note for note in raised.value.__notes__)
    assert raised.value.path is None
    assert raised.value.errno == errno.ENOENT
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None


@pytest.mark.parametrize("kind", ["upload", "put", "download"])
def test_a_folder_in_place_of_a_file_is_the_caller_s_mistake(
    call: Call, client: dstore.Client, tmp_path: Path, kind: str
) -> None:
    call(client.put, "a", b"content")
    with pytest.raises(dstore.ConfigError) as raised:
        match kind:
            case "upload":
                call(client.upload, tmp_path, "b")
            case "put":
                call(client.put, "b", tmp_path)
            case "download":
                call(client.download, "a", tmp_path)
    assert str(tmp_path) in str(raised.value)


def test_a_key_file_that_exists_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "owner.key"
    owner = dstore.Owner.create(path)
    for replace in (lambda: dstore.Owner.create(path), lambda: owner.save(path)):
        with pytest.raises(FileExistsError) as raised:
            replace()
        assert raised.value.code == "already_exists"
        assert str(path) in str(raised.value)
    assert dstore.Owner.open(path).id == owner.id


def test_a_stream_that_failed_can_not_be_gone_on_with(
    call: Call, cluster: dstore.testing.Cluster, client: dstore.Client
) -> None:
    call(client.put, "a", noise(20_000_000))
    stream = call(client.get("a").stream)
    cluster.kill(0)
    cluster.kill(1)
    with pytest.raises(dstore.NotEnoughShards):
        call.each(stream)
    with pytest.raises(RuntimeError, match="begin again"):
        call.each(stream)


@given(
    code=st.sampled_from(sorted(BY_CODE)),
    message=st.text(),
    retryable=st.booleans(),
    details=st.dictionaries(
        st.sampled_from(["path", "what", "peer", "problem", "found", "errno", "faults"]),
        st.none() | st.text() | st.integers(1, 100),
    ),
    notes=st.lists(st.text(), max_size=3),
    protocol=st.integers(0, pickle.HIGHEST_PROTOCOL),
)
def test_any_exception_pickles_to_an_equal_one(
    code: str, message: str, retryable: bool, details: dict[str, Any], notes: list[str], protocol: int
) -> None:
    details["errno"] = details.get("errno") if isinstance(details.get("errno"), int) else None
    error = BY_CODE[code](message, code=code, retryable=retryable, **details)
    for note in notes:
        error.add_note(note)
    assert state(pickle.loads(pickle.dumps(error, protocol))) == state(error)
    assert state(copy.deepcopy(error)) == state(error)
    assert str(error) == message


def test_a_code_of_a_later_version_is_an_error_all_the_same() -> None:
    error = dstore._exceptions.make("unheard_of", "text", True, {"path": "a"})  # type: ignore[attr-defined]
    assert type(error) is dstore.DstoreError
    assert (error.code, error.retryable, str(error)) == ("unheard_of", True, "text")
    assert state(pickle.loads(pickle.dumps(error))) == state(error)
