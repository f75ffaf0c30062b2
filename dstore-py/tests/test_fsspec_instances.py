"""Instances of the file system: their options, which are shared, and what outlives them."""

# fsspec has no types.
# mypy: disable-error-code="import-untyped, misc, no-untyped-call"

import asyncio
import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dstore
import dstore.testing
import fsspec
import pytest
from dstore._fsspec_instances import wait
from dstore.fsspec import DstoreFileSystem
from fsspec import AbstractFileSystem

SECRET = "6c0a8e6d4ac0e2a63a0cd1d6c0e5b0d2a4a70a1a0f2f6c1f0dcb9a5a4b3c2d1e"


@pytest.fixture(scope="module")
def network() -> Iterator[dstore.testing.Cluster]:
    with dstore.testing.Cluster(nodes=3) as network:
        yield network


@pytest.fixture
def here(network: dstore.testing.Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder and nothing of this machine's own settings. No network is needed to make an instance."""
    for name in os.environ:
        if name.startswith(("DSTORE_", "ETH_", "ALCHEMY_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    dstore.Owner.create(tmp_path / "key")
    monkeypatch.setenv("ETH_PRIVATE_KEY_FILE", str(tmp_path / "key"))
    monkeypatch.setenv("DSTORE_REGISTRY", network.registry_address)
    monkeypatch.setenv("DSTORE_DIR", str(tmp_path / "client"))
    (tmp_path / "client").mkdir()
    yield tmp_path
    DstoreFileSystem.clear_instance_cache()


# Options


@pytest.mark.parametrize(
    "name",
    [
        "owner_key",
        "ETH_PRIVATE_KEY",
        "private_key",
        "key",
        "secret",
        "password",
        "keystore_password",
        "rpc_url",
        "alchemy_key",
    ],
)
def test_a_secret_is_no_option_and_the_error_says_where_it_belongs(here: Path, name: str) -> None:
    with pytest.raises(TypeError) as refused:
        DstoreFileSystem(**dict[str, Any]({name: SECRET}))
    text = str(refused.value)
    assert name in text
    assert "environment" in text
    assert ".env" in text
    assert "ETH_PRIVATE_KEY_FILE" in text
    assert SECRET not in text
    with pytest.raises(TypeError):
        fsspec.url_to_fs("dstore://a", **{name: SECRET})


def test_the_environment_is_no_option(here: Path) -> None:
    with pytest.raises(TypeError):
        DstoreFileSystem(env={"ETH_PRIVATE_KEY": SECRET})


def test_what_is_no_setting_is_refused(here: Path) -> None:
    with pytest.raises(TypeError, match="colour"):
        DstoreFileSystem(colour="red")


def test_a_client_comes_without_settings(network: dstore.testing.Cluster) -> None:
    with network.client() as client:
        for name in ["dir", "env_file", "scheme"]:
            options: dict[str, Any] = {name: "2+1"}
            with pytest.raises(TypeError, match="client"):
                DstoreFileSystem(client=client, **options)


def test_an_instance_without_an_owner_is_refused_at_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ETH_PRIVATE_KEY_FILE")
    with pytest.raises(dstore.ConfigError):
        DstoreFileSystem()


# Which instances are shared


def test_the_same_arguments_give_the_same_instance(here: Path) -> None:
    assert DstoreFileSystem() is DstoreFileSystem()
    assert DstoreFileSystem(dir=here / "a") is DstoreFileSystem(dir=here / "a")
    assert DstoreFileSystem(dir=here / "a") is not DstoreFileSystem(dir=here / "b")
    assert DstoreFileSystem(scheme="2+1") != DstoreFileSystem()


def test_other_surroundings_give_another_instance(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = DstoreFileSystem()
    dstore.Owner.create(here / "other")
    monkeypatch.setenv("ETH_PRIVATE_KEY_FILE", str(here / "other"))
    second = DstoreFileSystem()
    assert first != second
    assert first.client.owner != second.client.owner
    monkeypatch.setenv("ETH_PRIVATE_KEY_FILE", str(here / "key"))
    assert DstoreFileSystem() is first
    (here / "sub").mkdir()
    monkeypatch.chdir(here / "sub")
    assert DstoreFileSystem() is not first


def test_two_clients_never_share_an_instance(network: dstore.testing.Cluster) -> None:
    with network.client() as one, network.client() as other:
        assert repr(one) == repr(other)
        first, second = DstoreFileSystem(client=one), DstoreFileSystem(client=other)
        assert first is not second
        assert first != second
        assert hash(first) != hash(second)
        assert first.client is one
        assert second.client is other
        assert first == DstoreFileSystem(client=one)
        assert first._fs_token != second._fs_token
        assert not any(instance in (first, second) for instance in DstoreFileSystem._cache.values())


def test_a_closed_instance_is_never_handed_out_dead(here: Path) -> None:
    fs = DstoreFileSystem()
    for close in [fs.close, lambda: fs.client.close()]:
        close()
        again = DstoreFileSystem()
        assert again.find("") == []
        assert again.client.owner


def test_a_lent_client_that_is_closed_stays_closed(network: dstore.testing.Cluster) -> None:
    with network.client() as client:
        fs = DstoreFileSystem(client=client)
        fs.close()
        assert fs.find("no") == []
    with pytest.raises(RuntimeError, match="closed"):
        fs.find("no")


# Pickles and forks


def test_an_instance_from_the_environment_is_pickled_and_serialised_without_it(here: Path) -> None:
    fs = DstoreFileSystem(scheme="2+1")
    assert pickle.loads(pickle.dumps(fs)) is fs
    assert AbstractFileSystem.from_json(fs.to_json()) is fs
    told = json.loads(fs.to_json())
    assert told == {"cls": "dstore.fsspec:DstoreFileSystem", "protocol": "dstore", "args": [], "scheme": "2+1"}


def test_an_instance_over_a_lent_client_is_not(network: dstore.testing.Cluster) -> None:
    with network.client() as client:
        fs = DstoreFileSystem(client=client)
        for serialise in [pickle.dumps, lambda fs: fs.to_json(), lambda fs: fs.to_dict()]:
            with pytest.raises(TypeError, match="client="):
                serialise(fs)


def test_a_forked_process_is_told_so(here: Path) -> None:
    script = """
        import os, dstore
        from dstore.fsspec import DstoreFileSystem
        fs = DstoreFileSystem()
        fs.find("")
        if os.fork() == 0:
            code = 0
            for use in [lambda: fs.find(""), lambda: fs.open("a"), lambda: DstoreFileSystem()]:
                try:
                    use()
                except dstore.ForkedError as error:
                    code += "spawn" in str(error)
            os._exit(code)
        print(os.waitstatus_to_exitcode(os.wait()[1]))
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=300, check=True
    )
    assert run.stdout == "3\n", run.stderr


# Calls that wait


def test_exceptions_of_ours_arrive_as_they_are() -> None:
    async def late() -> None:
        raise dstore.Timeout("late", peer="a", problem="b")

    with pytest.raises(dstore.Timeout, match="late"):
        wait(fsspec.asyn.get_loop(), late())


def test_a_call_from_the_event_loop_that_is_to_do_it_is_refused(network: dstore.testing.Cluster) -> None:
    with network.client() as client:
        fs = DstoreFileSystem(client=client)

        async def call() -> Any:
            return fs.find("")

        with pytest.raises(NotImplementedError):
            wait(fs.loop, call())


def test_ctrl_c_ends_the_work_and_nothing_is_stored(network: dstore.testing.Cluster) -> None:
    with network.client(scheme="2+1") as client:
        fs = DstoreFileSystem(client=client)
        started = threading.Event()

        class Source:
            """Never ends, and says when it is asked for the first time."""

            def __iter__(self) -> Iterator[bytes]:
                while True:
                    started.set()
                    yield bytes(1000)

        def interrupt() -> None:
            started.wait()
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        guard = threading.Thread(target=interrupt)
        guard.start()
        with pytest.raises(KeyboardInterrupt):
            fs.pipe_file("a", Source())
        guard.join()

        async def others() -> set[Any]:
            return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}

        assert wait(fs.loop, others()) == set()
        assert not fs.exists("a")
