"""Registries and storage nodes in the process of whoever wants them, on disk and on this machine's own network."""

from __future__ import annotations

import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dstore
import pytest
from conftest import Call, Servers, noise


def fetched(address: str, page: str) -> str:
    with urllib.request.urlopen(f"http://{address}/{page}", timeout=60) as response:
        return response.read().decode()  # type: ignore[no-any-return]


def node_in(folder: Path, registry: dstore.Registry, **settings: Any) -> dstore.StorageNode:
    return dstore.StorageNode(**{"dir": folder, "registry": registry.address, "free_floor": 0, **settings})


def test_a_whole_network_is_three_with_blocks(call: Call, tmp_path: Path) -> None:
    content = noise(300_000)
    with (
        call.within(dstore.Registry(min_nodes=1)) as registry,
        call.within(node_in(tmp_path / "node", registry)) as node,
    ):
        ledger = dstore.LocalLedger(tmp_path / "ledger.db")
        client = dstore.Client(owner=dstore.Owner.generate(), ledger=ledger, registry=registry.address, pin=node.id)
        with call.within(client), pytest.raises(dstore.NotEnoughNodes):
            call(client.put, "a", content)
        assert [each.id for each in registry.nodes()] == [node.id]
    with call.within(dstore.Registry()) as registry:
        nodes = [node_in(tmp_path / str(number), registry) for number in range(3)]
        for node in nodes:
            assert call(node.start) is node
        with call.within(
            dstore.Client(owner=dstore.Owner.generate(), ledger=ledger, registry=[registry.address])
        ) as client:
            call(client.put, "a", content)
            assert call(client.get("a").bytes) == content
        for node in nodes:
            call(node.stop)
            call(node.stop)


def test_a_server_that_runs_says_where_and_one_that_does_not_says_so(call: Call, tmp_path: Path) -> None:
    registry = dstore.Registry(min_nodes=1, dir=tmp_path / "registry")
    node = dstore.StorageNode(dir=tmp_path / "node", free_floor=0)
    for server, what in ((registry, "registry"), (node, "storage node")):
        assert not server.is_running
        assert repr(server).endswith("not running>")
        for ask in ("address", "admin_address"):
            with pytest.raises(RuntimeError, match=f"this {what} is not running"):
                getattr(server, ask)
        with pytest.raises(RuntimeError, match="not running"):
            server.metrics()
        call(server.stop)
    for refused in (lambda: node.id, node.drain, lambda: node.invite(1), registry.nodes):
        with pytest.raises(RuntimeError, match="not running"):
            refused()
    for server in (registry, node):
        with call.within(server) as entered:
            assert entered is server
            assert server.is_running
            assert server.address.rpartition(":")[0].endswith("127.0.0.1")
            assert server.address in repr(server)
            assert server.admin_address is None
            with pytest.raises(RuntimeError, match="already"):
                call(server.start)
        assert not server.is_running


def test_a_server_with_a_folder_has_the_same_identity_again(call: Call, tmp_path: Path) -> None:
    def identity(server: Any) -> str:
        with call.within(server):
            return server.id if isinstance(server, dstore.StorageNode) else server.address.partition("@")[0]  # type: ignore[no-any-return]

    node, registry = (
        (lambda: dstore.StorageNode(dir=tmp_path / "node")),
        (lambda: dstore.Registry(dir=tmp_path / "registry")),
    )
    assert identity(node()) == identity(node())
    assert identity(registry()) == identity(registry())
    assert identity(dstore.Registry()) != identity(dstore.Registry())
    again = registry()
    assert identity(again) == identity(again)


def test_a_registry_lists_its_nodes_and_their_zones(call: Call, tmp_path: Path) -> None:
    with dstore.Registry(min_nodes=1) as registry:
        with node_in(tmp_path, registry, zone="attic", capacity=1 << 20) as node:
            [listed] = registry.nodes()
            assert (listed.id, listed.address, listed.state, listed.zone) == (node.id, node.address, "active", "attic")
            assert listed.capacity == 1 << 20
            assert listed.free <= listed.capacity
            assert abs(datetime.now(UTC) - listed.last_seen) < timedelta(hours=1)
        assert registry.nodes() == []


def test_a_node_that_drains_takes_nothing_new(call: Call, servers: Servers, tmp_path: Path) -> None:
    client = servers.client(dstore.Owner.generate(), dstore.MemoryLedger())
    call(client.put, "a", noise(10_000))
    node = servers.nodes[0]
    assert not call(client.node_info, node.id).draining
    node.drain()
    try:
        assert call(client.node_info, node.id).draining
        with pytest.raises(dstore.NotEnoughNodes):
            call(servers.client(dstore.Owner.generate(), dstore.MemoryLedger()).put, "b", noise(100_000))
        assert call(client.get("a").bytes) == noise(10_000)
    finally:
        node.drain(False)
    assert not call(client.node_info, node.id).draining
    call(client.put, "b", noise(10_000))


def test_a_node_takes_whom_it_was_told_to_and_whom_it_invited(call: Call, tmp_path: Path) -> None:
    owner = dstore.Owner.generate()
    with dstore.Registry() as registry:
        nodes = [node_in(tmp_path / str(number), registry) for number in range(2)]
        for node in nodes:
            node.start()
        picky = node_in(tmp_path / "picky", registry, admission="invited")
        with picky:
            id = picky.id
            stranger = dstore.Client(owner=owner, ledger=dstore.MemoryLedger(), registry=registry.address)
            assert stranger.transport_key(id) == owner.transport_key(id) != owner.transport_key("00" * 20)
            with pytest.raises(dstore.NotEnoughNodes) as raised:
                call(stranger.put, "a", b"content")
            assert [(fault.node, "denied" in fault.problem) for fault in raised.value.faults] == [(id, True)]
            invite = picky.invite(60)
            guest = dstore.Client(owner=owner, ledger=dstore.MemoryLedger(), registry=registry.address, invite=invite)
            assert call(guest.put, "a", b"content").head.version == 1
            for lasts in (0, -1, float("nan")):
                with pytest.raises(ValueError):
                    picky.invite(lasts)
        friend = dstore.Owner.generate()
        picky = node_in(tmp_path / "picky", registry, admission="invited", allow=[friend.transport_key(id)])
        with picky:
            assert picky.id == id
            client = dstore.Client(owner=friend, ledger=dstore.MemoryLedger(), registry=registry.address)
            assert call(client.put, "a", b"content").head.version == 1
        for node in nodes:
            node.stop()


def test_metrics_are_the_same_text_in_python_and_on_the_page(tmp_path: Path) -> None:
    with (
        dstore.Registry(min_nodes=1, admin="127.0.0.1:0") as registry,
        node_in(tmp_path, registry, admin="127.0.0.1:0") as node,
    ):
        for server, word in ((registry, "dstore_registry_"), (node, "dstore_node_")):
            assert word in server.metrics()
            assert word in fetched(server.admin_address or "", "metrics")
            assert fetched(server.admin_address or "", "healthz")


def test_a_node_that_no_registry_lists_does_not_start(call: Call, tmp_path: Path) -> None:
    with dstore.Registry() as gone:
        address = gone.address
    node = dstore.StorageNode(dir=tmp_path, registry=address, free_floor=0, registration_timeout=0.2)
    with pytest.raises(dstore.Unavailable, match="registry"):
        call(node.start)
    assert not node.is_running
    with pytest.raises(dstore.Unavailable), call.within(node):
        pass
    # It has let go of its folder.
    with call.within(dstore.StorageNode(dir=tmp_path, free_floor=0)) as alone:
        assert alone.is_running


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (dstore.Registry, {"heartbeat": 0}),
        (dstore.Registry, {"heartbeat": float("inf")}),
        (dstore.StorageNode, {"retire_for": -1}),
        (dstore.StorageNode, {"grace": 0}),
        (dstore.StorageNode, {"registration_timeout": 0}),
        (dstore.StorageNode, {"admission": "everybody"}),
        (dstore.StorageNode, {"registry": "nonsense"}),
        (dstore.StorageNode, {"allow": "nonsense"}),
    ],
)
def test_settings_that_cannot_be_are_value_errors(kind: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        kind(**settings)


@pytest.mark.parametrize("kind", [dstore.Registry, dstore.StorageNode])
@pytest.mark.parametrize("settings", [{"lisen": "x"}, {"listen": 3}, {"dir": 3}, {"admin_public": "yes"}])
def test_settings_of_another_name_or_type_are_type_errors(kind: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(settings))):
        kind(**settings)


def test_a_server_that_cannot_start_says_why(call: Call, tmp_path: Path) -> None:
    for server in (
        dstore.StorageNode(),
        dstore.Registry(listen="nonsense"),
        dstore.Registry(min_nodes=3, max_nodes=1),
        dstore.Registry(admin="0.0.0.0:0"),
        dstore.StorageNode(dir=tmp_path, zone="z" * 65),
    ):
        with pytest.raises(dstore.ConfigError):
            call(server.start)
        assert not server.is_running
    with call.within(dstore.StorageNode(dir=tmp_path, free_floor=0)), pytest.raises(BlockingIOError):
        call(dstore.StorageNode(dir=tmp_path, free_floor=0).start)
    occupied = dstore.Registry()
    with call.within(occupied):
        port = occupied.address.rpartition(":")[2]
        with pytest.raises(dstore.ConfigError):
            call(dstore.Registry(listen=f"127.0.0.1:{port}").start)
