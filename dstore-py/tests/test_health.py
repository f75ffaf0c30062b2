"""How files, nodes and the network are, and what a client makes of it when some of them fail."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from datetime import UTC, datetime
from pathlib import Path

import dstore
import dstore.testing
import pytest
from conftest import HOUR, Call, is_hex, noise
from hypothesis import given
from hypothesis import strategies as st


def test_a_check_tells_how_every_shard_is(call: Call, cluster: dstore.testing.Cluster) -> None:
    with call.within(cluster.client(timeout=2)) as client:
        call(client.put, "a", noise(100_000))

        def states() -> dict[int | None, set[str]]:
            found: dict[int | None, set[str]] = {}
            for shard in call(client.check, "a").shards:
                found.setdefault(cluster.index_of(shard.home.node), set()).add(shard.state)
            return found

        assert states() == {0: {"ok"}, 1: {"ok"}, 2: {"ok"}}
        assert call(client.check, "a").head == call(client.head, "a")
        cluster.kill(0)
        call(cluster.wipe, 1)
        assert states() == {0: {"unreachable"}, 1: {"missing"}, 2: {"ok"}}
        call(cluster.restart, 0)
        assert states() == {0: {"ok"}, 1: {"missing"}, 2: {"ok"}}


def test_a_preview_tells_what_a_put_then_stores_and_stores_nothing(
    call: Call, cluster: dstore.testing.Cluster, client: dstore.Client
) -> None:
    content = noise(100_000)
    preview = call(client.preview, "a", content, attributes={"a": "b"})
    assert not call(client.exists, "a")
    assert call(cluster.live_shards) == 0
    committed = call(client.put, "a", content, attributes={"a": "b"})
    head = committed.head
    assert (preview.path, preview.version, preview.size, preview.padded) == ("a", 1, head.size, head.padded)
    assert (preview.stored, preview.shards, preview.nodes, preview.cost) == (committed.stored, 6, 3, None)
    assert preview.record_len > 0


def test_a_preview_of_what_does_not_tell_its_length_takes_nothing_of_it(call: Call, client: dstore.Client) -> None:
    taken = []
    preview = call(client.preview, "a", (taken.append(number) or b"" for number in range(3)))
    assert (preview.size, preview.padded, preview.stored, preview.shards) == (None, None, None, 6)
    assert taken == []
    call(client.put, "a", b"")
    with pytest.raises(dstore.AlreadyExists):
        call(client.preview, "a", b"", mode="create")


def test_the_network_and_its_nodes_tell_how_they_are(call: Call, cluster: dstore.testing.Cluster) -> None:
    client = cluster.client(timeout=5)
    network = call(client.network)
    assert (network.active, network.required, network.unreachable, network.odd) == (3, 3, [], [])
    assert {node.id for node in network.nodes} == set(cluster.node_ids)
    for node in network.nodes:
        assert (node.state, node.zone) == ("active", "")
        assert abs(datetime.now(UTC) - node.last_seen) < HOUR
        info = call(client.node_info, node.id)
        assert (info.shards, info.damaged, info.draining, info.version) == (0, 0, False, dstore.__version__)
        assert info.free <= info.capacity
        assert info.used == 0
    call(client.put, "a", noise(10_000))
    assert sum(call(client.node_info, node).shards for node in cluster.node_ids) >= 6
    probe = call(client.probe_registry, cluster.registry_address)
    assert probe.seconds >= 0
    assert abs(probe.clock - probe.here) < HOUR
    index = call(cluster.add_node)
    assert index == 3
    assert call(client.network).active == 4
    call(client.close)


def test_a_network_of_which_no_registry_answers_is_unavailable(
    call: Call, cluster: dstore.testing.Cluster, client: dstore.Client
) -> None:
    call(client.put, "a", b"content")
    cluster.kill_registry()
    for method, arguments in [
        (client.probe_registry, (cluster.registry_address,)),
        (cluster.client().put, ("b", b"")),
    ]:
        with pytest.raises(ConnectionError) as raised:
            call(method, *arguments)
        assert isinstance(raised.value, dstore.Unavailable)
    assert call(client.get("a").bytes) == b"content"
    call(cluster.restart_registry)
    assert call(client.probe_registry, cluster.registry_address).seconds >= 0


def test_a_file_outlives_any_one_node_and_nodes_that_move(
    call: Call, cluster: dstore.testing.Cluster, client: dstore.Client
) -> None:
    content = noise(200_000)
    call(client.put, "a", content)
    for index in range(3):
        cluster.kill(index)
        assert call(client.get("a").bytes) == content
        call(cluster.restart_elsewhere, index)
    cluster.hang(0)
    assert call(cluster.client(hedge_after=0.05).get("a").bytes) == content
    cluster.resume(0)
    assert call(client.node_info, cluster.node_ids[0]).shards == 2


def test_a_corrupt_node_costs_a_warning_that_names_it_and_no_byte(
    call: Call, cluster: dstore.testing.Cluster, client: dstore.Client
) -> None:
    content = noise(200_000)
    call(client.put, "a", content)
    cluster.corrupt(1)
    warnings: list[dstore.TransferWarning] = []
    assert call(client.get("a", on_warning=warnings.append).bytes) == content
    assert {(warning.code, warning.node) for warning in warnings} == {("block_corrupt", cluster.node_ids[1])}
    assert all(warning.shard is not None and warning.message for warning in warnings)


@pytest.mark.parametrize("size", [1000, 2_000_000])
@pytest.mark.parametrize("which", ["put", "writer", "get", "save", "copy", "upload", "iterator", "stream"])
def test_progress_is_told_up_to_the_whole(
    call: Call, client: dstore.Client, tmp_path: Path, which: str, size: int
) -> None:
    content = noise(size)
    (tmp_path / "source").write_bytes(content)
    told: list[dstore.Progress] = []
    call(client.put, "a", content)
    match which:
        case "put":
            call(client.put, "b", content, progress=told.append)
        case "upload":
            call(client.upload, tmp_path / "source", "b", progress=told.append)
        case "iterator":
            call(client.put, "b", iter([content]), progress=told.append)
        case "writer":
            with call.within(call(client.open, "b", "wb", progress=told.append)) as writer:
                call(writer.write, content)
        case "get":
            call(client.get("a", progress=told.append).bytes)
        case "stream":
            call.each(client.get("a", progress=told.append))
        case "save":
            call(client.download, "a", tmp_path / "target", progress=told.append)
        case "copy":
            call(client.copy, "a", "b", progress=told.append)
    done = [progress.bytes_done for progress in told]
    assert done == sorted(done)
    assert (done[-1], told[-1].bytes_durable) == (size, size)
    assert told[-1].bytes_total in (size, None)
    assert told[-1].seconds >= 0


@pytest.mark.parametrize("raised", [ValueError("mine"), KeyboardInterrupt()])
def test_what_a_listener_raises_ends_the_put_and_arrives_as_it_is(
    call: Call, cluster: dstore.testing.Cluster, client: dstore.Client, raised: BaseException
) -> None:
    if call.is_async and not isinstance(raised, Exception):
        pytest.skip("asyncio ends the whole event loop with it")

    def listen(_: dstore.Progress) -> None:
        raise raised

    with pytest.raises(type(raised)) as caught:
        call(client.put, "a", iter([noise(1 << 20)] * 20), progress=listen)
    assert caught.value is raised
    assert not call(client.exists, "a")
    call(client.close)
    assert call(cluster.live_shards) == 0


def test_a_progress_bar_goes_to_the_end_and_never_back(call: Call, client: dstore.Client) -> None:
    class Bar:
        total: float | None = None

        def __init__(self) -> None:
            self.steps: list[float] = []

        def update(self, n: float, /) -> None:
            self.steps.append(n)

    bar = Bar()
    call(client.put, "a", noise(3_000_000), progress=dstore.progress_bar(bar))
    assert (bar.total, sum(bar.steps)) == (3_000_000, 3_000_000)
    assert all(step > 0 for step in bar.steps)
    show = dstore.progress_bar(other := Bar())
    for durable in (10, 5, 20):
        show(dstore.Progress(bytes_done=20, bytes_durable=durable, bytes_total=20, seconds=0))
    assert other.steps == [10, 10]


def test_with_the_key_and_a_registry_alone_everything_is_found_again(
    call: Call, cluster: dstore.testing.Cluster, tmp_path: Path
) -> None:
    lost = dstore.LocalLedger(tmp_path / "lost.db")
    assert is_hex(lost.id, 64)
    with call.within(cluster.client()) as client:
        call(client.put, "a", b"content", attributes={"k": "v"})
        call(client.put, "a", b"newer")
        call(client.put, "b", noise(100_000))
        call(client.remove, "b")
        found = call(client.recover)
    assert found.ledger_problem is None
    assert {(node.id, node.problem, node.strange) for node in found.nodes} == {
        (node, None, 0) for node in cluster.node_ids
    }
    [ledger] = found.ledgers
    [file] = ledger.files
    assert (file.head.path, file.head.version, file.may_be_older) == ("a", 2, False)
    assert (file.is_readable, file.is_lost) == (True, False)
    assert {shard.state for shard in file.shards} == {"ok"}
    assert ledger.id == cluster.ledger.id
    assert len(ledger.versions) >= 1
    assert ledger.id in repr(ledger.versions)
    restored = dstore.LocalLedger.restore(tmp_path / "again.db", cluster.owner, ledger.versions)
    assert (restored.added, restored.known) == (len(ledger.versions), 0)
    again = dstore.LocalLedger.restore(tmp_path / "again.db", cluster.owner, ledger.versions)
    assert (again.added, again.known) == (0, len(ledger.versions))
    assert dstore.LocalLedger(tmp_path / "again.db").id == ledger.id
    with pytest.raises(dstore.DstoreError):
        dstore.LocalLedger.restore(tmp_path / "lost.db", cluster.owner, ledger.versions)


def test_a_client_that_is_closed_says_so(call: Call, cluster: dstore.testing.Cluster) -> None:
    client = cluster.client()
    call(client.put, "a", b"content")
    assert client.owner == cluster.owner.id
    assert client.owner in repr(client)
    call(client.close)
    call(client.close)
    assert repr(client) == "<dstore.Client, closed>"
    for method, arguments in [(client.put, ("a", b"")), (client.head, ("a",)), (client.open, ("a",))]:
        with pytest.raises(RuntimeError, match="closed"):
            call(method, *arguments)
    for ask in (client.list, lambda: client.get("a"), lambda: client.owner):
        with pytest.raises(RuntimeError, match="closed"):
            ask()


def test_a_with_block_closes_its_client_also_after_an_exception(call: Call, cluster: dstore.testing.Cluster) -> None:
    for problem in (None, ValueError("mine")):
        client = cluster.client()
        with pytest.raises(ValueError) if problem else contextlib.nullcontext(), call.within(client) as entered:
            assert entered is client
            call(entered.put, "a", b"content")
            if problem:
                raise problem
        with pytest.raises(RuntimeError):
            call(client.head, "a")


def test_a_cluster_that_does_not_run_says_so(call: Call) -> None:
    cluster = dstore.testing.Cluster(nodes=1)
    assert (cluster.is_running, repr(cluster)) == (False, "<dstore.testing.Cluster of 1 nodes, not running>")
    for ask in (cluster.client, lambda: cluster.kill(0), lambda: cluster.registry_address, lambda: cluster.owner):
        with pytest.raises(RuntimeError, match="not running"):
            ask()
    with pytest.raises(RuntimeError, match="not running"):
        call(cluster.live_shards)
    with call.within(cluster) as entered:
        assert entered is cluster
        assert cluster.is_running
        with pytest.raises(RuntimeError, match="already"):
            call(cluster.start)
        for knob in (cluster.kill, cluster.hang, cluster.resume, cluster.corrupt):
            with pytest.raises(IndexError):
                knob(1)
        with pytest.raises(IndexError):
            call(cluster.restart, 1)
        with pytest.raises(ValueError, match="refuse"):
            cluster.ledger_fault("break")
        owner = cluster.owner.id
    assert not cluster.is_running
    assert call(cluster.start) is cluster
    assert cluster.owner.id != owner
    call(cluster.stop)
    call(cluster.stop)


def test_a_ledger_with_a_fault_fails_writes_as_it_is_told_and_works_again(
    call: Call, cluster: dstore.testing.Cluster, client: dstore.Client
) -> None:
    call(client.put, "a", b"one")
    cluster.ledger_fault("refuse")
    with pytest.raises(dstore.Unavailable):
        call(client.put, "a", b"two")
    cluster.ledger_fault("lose")
    with pytest.raises(dstore.UnknownOutcome) as raised:
        call(client.put, "a", b"two")
    assert raised.value.path == "a"
    assert call(client.get("a").bytes) == b"one"
    cluster.ledger_fault(None)
    assert call(client.put, "a", b"two").head.version == 2
    cluster.ledger_fault("mute")
    with pytest.raises(dstore.UnknownOutcome):
        call(client.put, "a", b"three")
    cluster.ledger_fault(None)
    assert call(client.get("a").bytes) == b"three"


@given(path=st.text(max_size=30) | st.text(st.sampled_from("a/.\0\\"), max_size=8))
def test_any_text_is_a_path_or_an_invalid_one(call: Call, client: dstore.Client, path: str) -> None:
    parts = path.split("/")
    is_valid = "\0" not in path and not any(part in ("", ".", "..") for part in parts) and len(path.encode()) <= 1024
    if is_valid:
        assert call(client.put, path, path.encode()).head.path == path
        assert call(client.get(path).bytes) == path.encode()
    else:
        for method, arguments in ((client.put, (path, b"")), (client.get(path).bytes, ())):
            with pytest.raises(dstore.InvalidPath) as raised:
                call(method, *arguments)
            assert raised.value.reason


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", ".", "a/../b", "a\0b", "x" * 1025, "é" * 513])
def test_no_method_takes_an_invalid_path(call: Call, client: dstore.Client, tmp_path: Path, path: str) -> None:
    for method, arguments in [
        (client.put, (path, b"")),
        (client.put, (path, iter([b"a"]))),
        (client.upload, ("/dev/null", path)),
        (client.preview, (path, b"")),
        (client.get(path).bytes, ()),
        (client.download, (path, tmp_path / "a")),
        (client.head, (path,)),
        (client.exists, (path,)),
        (client.check, (path,)),
        (client.remove, (path,)),
        (client.rename, (path, "b")),
        (client.rename, ("a", path)),
        (client.copy, (path, "b")),
        (client.history, (path,)),
    ]:
        with pytest.raises(dstore.InvalidPath):
            call(method, *arguments)
    with pytest.raises(dstore.InvalidPath), call.within(call(client.open, path, "wb")) as writer:
        call(writer.write, b"a")


def test_text_that_is_no_unicode_is_a_value_error(call: Call, client: dstore.Client) -> None:
    with pytest.raises(ValueError):
        call(client.put, "\ud800", b"")


@given(sizes=st.lists(st.integers(0, 300_000), min_size=2, max_size=4), length=st.integers(0, 300_000))
def test_any_range_is_a_slice(call: Call, client: dstore.Client, sizes: list[int], length: int) -> None:
    content = noise(length)
    call(client.put, "ranged", content)
    start, end = sorted(sizes[:2])
    assert call(client.get_range, "ranged", start=start, end=end) == content[start:end]
    assert call(client.get("ranged", start=start, length=sizes[-1]).bytes) == content[start : start + sizes[-1]]
    assert b"".join(call.each(client.get("ranged", start=start))) == content[start:]
    wanted = [(min(pair), max(pair)) for pair in itertools.pairwise(sizes)]
    assert call(client.get_ranges, "ranged", wanted) == [content[first:last] for first, last in wanted]
    assert hashlib.sha256(call(client.get("ranged").bytes)).digest() == hashlib.sha256(content).digest()
