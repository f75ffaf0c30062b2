"""What calls answer: plain values that do not change, compare, and travel to other processes; and what never shows a secret."""

from __future__ import annotations

import copy
import dataclasses
import io
import logging
import pickle
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dstore
import dstore.testing
import pytest
from conftest import Call, Servers, noise
from dstore import _values
from hypothesis import given
from hypothesis import strategies as st

VALUES = [kind for kind in vars(dstore).values() if isinstance(kind, type) and dataclasses.is_dataclass(kind)]


@pytest.mark.parametrize("kind", VALUES)
def test_values_are_frozen_and_documented(kind: type) -> None:
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert not hasattr(kind, "__dict__") or "__slots__" in vars(kind)
    assert kind.__doc__
    assert kind.__name__ in dstore.__all__


def test_every_public_name_is_there_and_nothing_else() -> None:
    assert sorted(dstore.__all__) == dstore.__all__
    public = {
        name
        for name, value in vars(dstore).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("dstore")
    }
    assert public | {"__version__"} == set(dstore.__all__)


def test_answers_are_pickled_copied_and_compared(
    call: Call, cluster: dstore.testing.Cluster, client: dstore.Client
) -> None:
    warnings: list[dstore.TransferWarning] = []
    progress: list[dstore.Progress] = []
    committed = call(client.put, "a", noise(100_000), attributes={"k": "v"}, progress=progress.append)
    cluster.corrupt(0)
    call(client.get("a", on_warning=warnings.append).bytes)
    answers: list[Any] = [
        committed,
        call(client.head, "a"),
        call(client.check, "a"),
        call(client.history, "a"),
        call(client.network),
        call(client.node_info, cluster.node_ids[0]),
        call(client.probe_registry, cluster.registry_address),
        call(client.preview, "a", b""),
        call(client.recover).ledgers[0].files,
        warnings,
        progress,
        cluster.node_ids,
    ]
    for answer in answers:
        assert answer
        for again in (pickle.loads(pickle.dumps(answer)), copy.deepcopy(answer)):
            assert again == answer
            assert repr(again) == repr(answer)
    with pytest.raises(dataclasses.FrozenInstanceError):
        committed.head.size = 0
    assert committed.head == call(client.head, "a") != call(client.put, "b", b"").head


@given(data=st.integers(1, 31), parity=st.integers(1, 31))
def test_a_scheme_is_a_value(data: int, parity: int) -> None:
    if data + parity > 32:
        with pytest.raises(dstore.ConfigError):
            dstore.Scheme(data, parity)
        return
    scheme = dstore.Scheme(data, parity)
    assert (scheme.data, scheme.parity, str(scheme)) == (data, parity, f"{data}+{parity}")
    same = [
        dstore.Scheme.parse(str(scheme)),
        eval(repr(scheme), {"Scheme": dstore.Scheme}),
        pickle.loads(pickle.dumps(scheme)),
    ]
    assert {scheme, *same} == {scheme}
    assert copy.deepcopy(scheme) == scheme
    assert scheme != str(scheme)


def test_schemes_have_names_and_limits() -> None:
    assert dstore.Scheme.parse("standard") == dstore.Scheme.STANDARD == dstore.Scheme(4, 2)
    assert dstore.Scheme.parse("high") == dstore.Scheme.HIGH == dstore.Scheme(2, 4)
    for text in ("", "4", "4+", "+2", "4+2+1", "-1+2", "0+2", "4+0", "low"):
        with pytest.raises(dstore.ConfigError):
            dstore.Scheme.parse(text)
    for refused in ((0, 1), (1, 0), (32, 1)):
        with pytest.raises(dstore.ConfigError):
            dstore.Scheme(*refused)
    for numbers in ((-1, 2), (300, 1)):
        with pytest.raises(OverflowError):
            dstore.Scheme(*numbers)


@given(millis=st.integers(0, 2**64 - 1))
def test_any_moment_that_a_peer_can_name_is_a_time(millis: int) -> None:
    moment = _values._moment(millis)
    assert moment.tzinfo is UTC
    if millis < 253_402_300_799_000:
        assert round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000) == millis


def test_nothing_that_is_shown_or_pickled_has_the_secret(
    call: Call, servers: Servers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.NOTSET, "dstore")
    owner = dstore.Owner.create(tmp_path / "owner.key")
    secret = owner.export_secret()
    url = "http://127.0.0.1:1/v2/hunter2"
    account = dstore.EthereumAccount(owner, chain="local", rpc_url=url, timeout=0.2)
    ledger = account.ledger("0x" + "09" * 20)
    local = dstore.LocalLedger(tmp_path / "ledger.db")
    client = servers.client(owner, local)
    shown: list[Any] = [
        owner,
        account,
        ledger,
        local,
        dstore.MemoryLedger(),
        client,
        client.get("secret path"),
        servers.registry,
    ]
    errors = []
    for cause in (
        lambda: dstore.Owner.parse(secret + "0"),
        lambda: dstore.Owner.create(tmp_path / "owner.key"),
        lambda: call(account.balance),
        lambda: call(ledger.contract),
        lambda: call(servers.client(owner, ledger).head, "secret path"),
        lambda: call(client.put, "secret path", noise(1000), scheme="8+1"),
        lambda: dstore.Owner(secret),
        lambda: dstore.Client(owner=secret, ledger=local),  # type: ignore[arg-type]
        lambda: dstore.Client.from_env(tmp_path, env={"ETH_PRIVATE_KEY": secret[:-1]}),
    ):
        with pytest.raises(Exception) as raised:
            cause()
        errors.append(raised.value)
    call(client.put, "secret path", noise(1000))
    texts = [
        form(each)
        for each in shown
        for form in (repr, str, "{}".format, lambda it: repr(getattr(it, "__dict__", None)))
    ]
    for error in errors:
        texts += [repr(error), str(error), repr(vars(error)), repr(getattr(error, "__notes__", []))]
        if isinstance(error, dstore.DstoreError):
            texts += ["".join(traceback.format_exception_only(error)), repr(pickle.dumps(error))]
    texts += [str(record.__dict__) for record in caplog.records]
    for text in texts:
        assert secret not in text
        assert secret[:-1] not in text
        assert "hunter2" not in text
    assert secret == owner.export_secret() == (tmp_path / "owner.key").read_text().strip()


# The first two protocols try it with nothing of what is inside, and then fail to make it again.
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_what_holds_a_secret_or_a_connection_is_not_pickled(
    cluster: dstore.testing.Cluster, client: dstore.Client, protocol: int
) -> None:
    client.put("a", b"")
    reader = client.open("a", buffering=0)
    refused = [
        cluster.owner,
        client,
        cluster,
        cluster.ledger,
        client.get("a"),
        reader,
        client.list(),
        client.recover().ledgers[0].versions,
    ]
    for each in refused:
        with pytest.raises(TypeError):
            pickle.Pickler(io.BytesIO(), protocol).dump(each)
        with pytest.raises(TypeError):
            copy.deepcopy(each)
    reader.close()


def test_reprs_say_what_something_is(cluster: dstore.testing.Cluster, client: dstore.Client) -> None:
    assert repr(client) == f"<dstore.Client of owner {cluster.owner.id}>"
    assert repr(cluster.owner) == f"<dstore.Owner {cluster.owner.id}>"
    assert repr(cluster) == "<dstore.testing.Cluster of 3 nodes, running>"
    assert repr(client.get("a")).startswith("<dstore.Get: bytes()")
    assert repr(dstore.MemoryLedger()) == "MemoryLedger()"
