"""The settings of a client: by keyword, and as the command line finds them."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import dstore
import dstore.testing
import pytest
from conftest import Call, Servers, noise


def owner_in(folder: Path) -> dstore.Owner:
    """The key of a client's folder."""
    folder.mkdir(exist_ok=True)
    return dstore.Owner.create(folder / "owner.key")


def test_a_client_of_its_own_needs_an_owner_and_a_ledger() -> None:
    for incomplete in ({}, {"owner": dstore.Owner.generate()}, {"ledger": dstore.MemoryLedger()}):
        with pytest.raises(TypeError):
            dstore.Client(**incomplete)
    with pytest.raises(TypeError):
        dstore.Client(owner="0" * 64, ledger=dstore.MemoryLedger())  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        dstore.Client(owner=dstore.Owner.generate(), ledger="local")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "settings",
    [
        {"scheme": "4"},
        {"scheme": "0+1"},
        {"tolerate": 0},
        {"tolerate": 3},
        {"padding": "much"},
        {"timeout": 0},
        {"timeout": -1.5},
        {"timeout": float("nan")},
        {"hedge_after": 0},
        {"pin": "nonsense"},
        {"invite": "nonsense"},
    ],
)
def test_settings_that_cannot_be_are_value_errors(cluster: dstore.testing.Cluster, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        cluster.client(**settings)


@pytest.mark.parametrize(
    "settings", [{"retries": 3}, {"timeout": "1s"}, {"scheme": 3}, {"journal": 3}, {"resume": "no"}]
)
def test_settings_of_another_name_or_type_are_type_errors(
    cluster: dstore.testing.Cluster, settings: dict[str, Any]
) -> None:
    with pytest.raises(TypeError, match=next(iter(settings))):
        cluster.client(**settings)


def test_none_is_the_default_of_every_setting(call: Call, cluster: dstore.testing.Cluster) -> None:
    settings = dict.fromkeys(dstore.ClientSettings.__annotations__)
    assert call(cluster.client(**settings).put, "a", b"").head.scheme == dstore.Scheme(4, 2)
    assert call(cluster.client().put, "a", b"", **dict.fromkeys(dstore.PutOptions.__annotations__)).head.version == 2
    assert not dstore.Registry(**dict.fromkeys(dstore.RegistrySettings.__annotations__)).is_running
    assert not dstore.StorageNode(**dict.fromkeys(dstore.NodeSettings.__annotations__)).is_running


def test_a_client_s_settings_are_those_of_its_puts(call: Call, cluster: dstore.testing.Cluster) -> None:
    head = call(cluster.client(scheme="2+4", padding="none").put, "a", bytes(1001)).head
    assert (head.scheme, head.padded) == (dstore.Scheme.HIGH, 1001)
    head = call(cluster.client(scheme=dstore.Scheme(1, 2), tolerate=2).put, "a", bytes(1001)).head
    assert (head.scheme, head.tolerates_nodes) == (dstore.Scheme(1, 2), 2)
    call(cluster.add_node)
    pinned = cluster.node_ids[1:]
    head = call(cluster.client(pin=pinned).put, "a", noise(10_000)).head
    assert {shard.node for shard in head.shards} == set(pinned)
    with pytest.raises(dstore.DstoreError, match="network"):
        call(cluster.client(network="other").put, "a", b"")


def test_a_put_that_failed_goes_on_with_what_nodes_have_if_there_is_a_journal(
    call: Call, cluster: dstore.testing.Cluster, tmp_path: Path
) -> None:
    content = noise(3_000_000)
    for resume, expected in ((None, True), (False, False)):
        client = cluster.client(journal=tmp_path / str(resume), resume=resume)
        cluster.ledger_fault("lose")
        with pytest.raises(dstore.UnknownOutcome):
            call(client.put, f"a{resume}", content)
        cluster.ledger_fault(None)
        committed = call(client.put, f"a{resume}", content)
        assert (committed.resumed == committed.stored) is expected
        assert call(client.get(f"a{resume}").bytes) == content
        call(client.close)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is nobody's, in place of the current one and of the platform's data folder."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith(("DSTORE_", "ETH_", "ALCHEMY_")):
            monkeypatch.delenv(name)
    for name in ("HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "data"))
    return tmp_path


def test_a_client_is_what_the_environment_says(
    call: Call, servers: Servers, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = owner_in(home / "client")
    monkeypatch.setenv("DSTORE_DIR", str(home / "client"))
    monkeypatch.setenv("DSTORE_REGISTRY", servers.address)
    monkeypatch.setenv("DSTORE_SCHEME", "2+4")
    with call.within(dstore.Client.from_env()) as client:
        assert client.owner == owner.id
        assert call(client.put, "a", b"content").head.scheme == dstore.Scheme.HIGH
    with call.within(dstore.Client.from_env(scheme="4+2", padding="none")) as client:
        assert call(client.put, "b", bytes(1001)).head.scheme == dstore.Scheme.STANDARD
        assert call(client.get("a").bytes) == b"content"
        assert call(client.head, "b").padded == 1001
    # Nothing of the process's environment, when one is given.
    with pytest.raises(dstore.ConfigError):
        dstore.Client.from_env(env={})
    monkeypatch.delenv("DSTORE_DIR")
    with call.within(dstore.Client.from_env(home / "client")) as client:
        assert call(client.exists, "a")


def test_arguments_come_before_the_environment_and_that_before_files(call: Call, servers: Servers, home: Path) -> None:
    owner_in(home / "client")
    (home / "client" / "config.toml").write_text(
        f'registry = ["{servers.address}"]\nscheme = "1+2"\npadding = "none"\n'
    )
    (home / "env").write_text("DSTORE_SCHEME=2+3\nDSTORE_PADDING=padme\n")
    (home / "env").chmod(0o600)

    def head(**settings: Any) -> dstore.Head:
        with call.within(dstore.Client.from_env(home / "client", **settings)) as client:
            return call(client.put, "a", bytes(1001)).head  # type: ignore[no-any-return]

    assert (head(env={}).scheme, head(env={}).padded) == (dstore.Scheme(1, 2), 1001)
    assert (head(env={}, env_file=home / "env").scheme) == dstore.Scheme(2, 3)
    assert head(env={"DSTORE_SCHEME": "3+3"}, env_file=home / "env").scheme == dstore.Scheme(3, 3)
    assert head(env={"DSTORE_SCHEME": "3+3"}, env_file=home / "env", scheme="4+2").scheme == dstore.Scheme(4, 2)
    assert head(env={}, scheme=dstore.Scheme(5, 4), timeout="5s").scheme == dstore.Scheme(5, 4)


def test_settings_that_are_none_are_refused(servers: Servers, home: Path) -> None:
    owner_in(home / "client")
    for refused in ("dir", "config", "secret", "owner_key", "nonsense"):
        if refused != "dir":
            with pytest.raises(TypeError, match=refused):
                dstore.Client.from_env(home / "client", env={}, **{refused: "x"})
    (home / "client" / "config.toml").write_text('shceme = "4+2"\n')
    with pytest.raises(dstore.ConfigError, match="scheme"):
        dstore.Client.from_env(home / "client", env={})
    with pytest.raises(dstore.ConfigError):
        dstore.Client.from_env(home / "client", env={}, env_file=home / "nothing")
    with pytest.raises(dstore.ConfigError):
        dstore.Client.from_env(home / "nothing", env={})


def test_a_secret_file_that_others_can_read_is_warned_of_or_refused(servers: Servers, home: Path) -> None:
    owner_in(home / "client")
    (home / "env").write_text(f"DSTORE_REGISTRY={servers.address}\nALCHEMY_API_KEY=hunter2\n")
    (home / "env").chmod(0o644)
    with pytest.warns(UserWarning, match="chmod 600") as warned:
        dstore.Client.from_env(home / "client", env={}, env_file=home / "env")
    assert str(home / "env") in str(warned[0].message)
    assert "hunter2" not in str(warned[0].message)
    (home / "env").chmod(0o600)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dstore.Client.from_env(home / "client", env={}, env_file=home / "env")
    (home / "client" / "owner.key").chmod(0o644)
    with pytest.raises(dstore.ConfigError, match="chmod 600"):
        dstore.Client.from_env(home / "client", env={}, env_file=home / "env")


def test_an_owner_is_made_once_and_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "owner.key"
    owner = dstore.Owner.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    secret = owner.export_secret()
    assert path.read_text().strip() == secret
    same = [dstore.Owner.open(path), dstore.Owner.parse(secret), dstore.Owner.parse(f"0x{secret}")]
    assert {each.id for each in same} == {owner.id}
    assert dstore.Owner.generate().id != owner.id
    owner.save(tmp_path / "copy.key")
    assert dstore.Owner.open(tmp_path / "copy.key").id == owner.id
    for nonsense in ("", "xyz", secret[:-1], "0" * 64):
        with pytest.raises(dstore.ConfigError) as raised:
            dstore.Owner.parse(nonsense)
        assert not nonsense or nonsense not in str(raised.value)
    with pytest.raises(dstore.NotFound):
        dstore.Owner.open(tmp_path / "nothing")
    with pytest.raises(TypeError):
        dstore.Owner()


def test_a_ledger_file_is_a_ledger_or_refused(call: Call, servers: Servers, tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    owner = dstore.Owner.generate()
    ledger = dstore.LocalLedger(path)
    assert repr(ledger) == f'LocalLedger("{path}")'
    with call.within(servers.client(owner, ledger)) as client:
        call(client.put, "a", b"content")
    with call.within(servers.client(owner, dstore.LocalLedger(str(path)))) as client:
        assert call(client.get("a").bytes) == b"content"
    with call.within(servers.client(owner, dstore.MemoryLedger())) as client:
        assert not call(client.exists, "a")
    for content in (b"", b"x" * 5000):
        (tmp_path / "other").write_bytes(content)
        with pytest.raises(dstore.ConfigError):
            dstore.LocalLedger(tmp_path / "other")
    with pytest.raises(dstore.ConfigError):
        dstore.LocalLedger(tmp_path)
    assert len({dstore.MemoryLedger().id, dstore.MemoryLedger().id, ledger.id}) == 3
