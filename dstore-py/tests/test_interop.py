"""What the command line stored Python reads, and the other way round: the same folder, the same real processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dstore
import pytest
from blake3 import blake3
from conftest import Call, noise
from network import Network, environment

pytest_plugins = ["network"]

SIZES = [0, 1, 100_000, 3_000_001]


def client_of(network: Network, **settings: Any) -> dstore.Client:
    """What a Python program makes of the same environment as the command line's."""
    return dstore.Client.from_env(env={**environment(network.home), "DSTORE_DIR": str(network.client)}, **settings)


@pytest.mark.parametrize("size", SIZES)
def test_what_the_command_line_stored_python_reads(call: Call, network: Network, size: int) -> None:
    path, content = f"cli/{call.is_async}/{size}", noise(size)
    result = network.put(path, content, "--scheme", "2+4", "--padding", "none")
    with call.within(client_of(network)) as client:
        assert call(client.get(path).bytes) == content
        head = call(client.head, path)
        assert (head.file_id, head.version, head.size) == (result["file_id"], result["version"], size)
        assert (head.scheme, head.padded) == (dstore.Scheme.HIGH, size)
        assert call(client.get_range, path, start=10, length=1000) == content[10:1010]
        assert path in {head.path for head in call.each(client.list("cli/"))}
        assert {shard.state for shard in call(client.check, path).shards} == {"ok"}


@pytest.mark.parametrize("size", SIZES)
def test_what_python_stored_the_command_line_reads(call: Call, network: Network, size: int) -> None:
    path, content = f"python/{call.is_async}/{size}", noise(size)
    with call.within(client_of(network, scheme="1+2")) as client:
        head = call(client.put, path, content).head
    assert network.run("cat", path) == content
    shown = network.json("stat", path)
    assert (shown["file_id"], shown["version"], shown["size"]) == (head.file_id, 1, size)
    assert shown["content_hash"] == head.content_hash == blake3(content).hexdigest()
    assert [shard["node"] for shard in shown["shards"]] == [shard.node for shard in head.shards]
    assert path in {item["path"] for item in network.json("ls", "python/")["items"]}
    network.run("get", path, network.home / "target")
    assert (network.home / "target").read_bytes() == content


def test_both_see_each_other_s_changes(call: Call, network: Network) -> None:
    base = f"both/{call.is_async}"
    network.put(f"{base}/a", b"one")
    with call.within(client_of(network)) as client:
        with pytest.raises(dstore.AlreadyExists):
            call(client.put, f"{base}/a", b"", mode="create")
        assert call(client.put, f"{base}/a", b"two", if_version=1).head.version == 2
        assert network.run("cat", f"{base}/a") == b"two"
        network.run("mv", f"{base}/a", f"{base}/b")
        assert not call(client.exists, f"{base}/a")
        call(client.copy, f"{base}/b", f"{base}/c")
        call(client.remove, f"{base}/b")
        network.run("cat", f"{base}/b", exit=4)
        assert network.run("cat", f"{base}/c") == b"two"
        kinds = [each.kind for each in call(client.history, f"{base}/a")]
    assert kinds == ["renamed_away", "put", "put"]


def test_both_name_a_failure_alike(call: Call, network: Network) -> None:
    missing = network.run("stat", "nothing", "--json", exit=4)
    assert missing == b""
    with call.within(client_of(network)) as client, pytest.raises(dstore.NotFound) as raised:
        call(client.head, "nothing")
    assert raised.value.code == "not_found"


def test_both_find_the_same_network(call: Call, network: Network) -> None:
    with call.within(client_of(network)) as client:
        found = call(client.network)
        assert {node.id for node in found.nodes} == {node.id for node in network.nodes}
        assert {node["id"] for node in network.json("status")["nodes"]} == {node.id for node in network.nodes}
        for node in network.nodes:
            assert call(client.node_info, node.id).version == dstore.__version__
            assert client.transport_key(node.id) in network.run("wallet", "transport-key", node.id).decode()
        assert call(client.probe_registry, network.registry.address).seconds > 0
        assert client.owner in network.run("wallet", "address").decode()


def test_settings_are_read_from_the_same_places(call: Call, network: Network, tmp_path: Path) -> None:
    shown = json.loads(network.run("config", "show", "--origin", "--json"))
    assert str(network.client) in json.dumps(shown)
    config = network.client / "config.toml"
    before = config.read_text()
    config.write_text(before + '\nscheme = "3+3"\n')
    try:
        with call.within(client_of(network)) as client:
            assert call(client.put, "configured", b"").head.scheme == dstore.Scheme(3, 3)
        assert network.put("configured", b"")["version"] >= 2
        assert network.json("stat", "configured")["scheme"] == "3+3"
    finally:
        config.write_text(before)


def test_a_node_of_python_s_serves_the_command_line(call: Call, network: Network, tmp_path: Path) -> None:
    node = dstore.StorageNode(dir=tmp_path, registry=network.registry.address, free_floor=0)
    with call.within(node):
        assert node.id in {each["id"] for each in network.json("status")["nodes"]}
        pinned = [node.id, *(each.id for each in network.nodes[:2])]
        with call.within(client_of(network, pin=pinned)) as client:
            head = call(client.put, f"pinned/{call.is_async}", noise(100_000)).head
        assert {shard.node for shard in head.shards} == set(pinned)
        assert network.run("cat", f"pinned/{call.is_async}") == noise(100_000)
        network.run("rm", f"pinned/{call.is_async}")
