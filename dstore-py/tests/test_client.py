"""What a client does with files, on a network in memory. Each test runs for blocking callers and for asyncio."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import dstore
import dstore.testing
import pytest
from blake3 import blake3
from conftest import HOUR, Call, is_hex, noise


def test_a_file_comes_back_as_it_was_stored(call: Call, client: dstore.Client) -> None:
    content = noise(200_000)
    committed = call(client.put, "notes/a.bin", content)
    assert isinstance(committed, dstore.Committed)
    assert call(client.get("notes/a.bin").bytes) == content
    head = committed.head
    assert call(client.head, "notes/a.bin") == head
    assert (head.path, head.version, head.size, head.scheme) == ("notes/a.bin", 1, 200_000, dstore.Scheme(4, 2))
    assert head.padded >= head.size
    assert head.tolerates_nodes == 1
    assert head.content_hash == blake3(content).hexdigest()
    assert is_hex(head.file_id, 64)
    assert abs(datetime.now(UTC) - head.created) < HOUR
    assert [shard.index for shard in head.shards] == list(range(6))
    assert committed.stored == sum(shard.bytes for shard in head.shards)
    assert committed.resumed == 0


def test_the_nodes_of_a_file_are_those_of_the_cluster(
    call: Call, cluster: dstore.testing.Cluster, client: dstore.Client
) -> None:
    head = call(client.put, "a", noise(1000)).head
    nodes = {shard.node for shard in head.shards}
    assert nodes == set(cluster.node_ids)
    assert [cluster.index_of(node) for node in cluster.node_ids] == [0, 1, 2]
    assert cluster.index_of("00" * 20) is None
    assert call(cluster.live_shards) == 6


def test_an_empty_file_is_a_file(call: Call, client: dstore.Client) -> None:
    assert call(client.put, "empty", b"").head.size == 0
    assert call(client.get("empty").bytes) == b""
    assert call.each(client.get("empty")) == []
    assert call(client.get("empty").ranges, [(0, 10)]) == [b""]


def test_a_put_overwrites_unless_it_is_told_otherwise(call: Call, client: dstore.Client) -> None:
    assert call(client.put, "a", b"one").head.version == 1
    assert call(client.put, "a", b"two", mode="overwrite").head.version == 2
    assert call(client.put, "a", b"three", mode=None, if_version=None).head.version == 3
    assert call(client.get("a").bytes) == b"three"


def test_create_meets_a_file_that_exists(call: Call, client: dstore.Client) -> None:
    call(client.put, "a", b"one", mode="create")
    with pytest.raises(FileExistsError) as raised:
        call(client.put, "a", b"two", mode="create")
    assert isinstance(raised.value, dstore.AlreadyExists)
    assert (raised.value.path, raised.value.version) == ("a", 1)
    assert call(client.get("a").bytes) == b"one"


@pytest.mark.parametrize("mode", [None, "update"])
def test_an_update_replaces_the_version_that_it_names_and_no_other(
    call: Call, client: dstore.Client, mode: str | None
) -> None:
    call(client.put, "a", b"one")
    assert call(client.put, "a", b"two", mode=mode, if_version=1).head.version == 2
    with pytest.raises(dstore.VersionConflict) as raised:
        call(client.put, "a", b"three", mode=mode, if_version=1)
    assert (raised.value.path, raised.value.expected, raised.value.actual) == ("a", 1, 2)
    with pytest.raises(dstore.NotFound):
        call(client.put, "nothing", b"four", mode=mode, if_version=1)
    assert call(client.get("a").bytes) == b"two"


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "append"},
        {"mode": "update"},
        {"mode": "create", "if_version": 1},
        {"mode": "overwrite", "if_version": 1},
        {"padding": "some"},
        {"scheme": "4"},
        {"scheme": "30+3"},
    ],
)
def test_options_that_mean_nothing_are_value_errors_and_store_nothing(
    call: Call, cluster: dstore.testing.Cluster, client: dstore.Client, options: dict[str, object]
) -> None:
    with pytest.raises(ValueError):
        call(client.put, "a", b"one", **options)
    assert not call(client.exists, "a")
    assert call(cluster.live_shards) == 0


@pytest.mark.parametrize(
    "options",
    [
        {"overwrite": True},
        {"mode": 1},
        {"if_version": "1"},
        {"attributes": {"a": 1}},
        {"attributes": "a"},
        {"scheme": 4},
    ],
)
def test_options_of_another_name_or_type_are_type_errors(
    call: Call, client: dstore.Client, options: dict[str, object]
) -> None:
    with pytest.raises(TypeError, match=next(iter(options))):
        call(client.put, "a", b"one", **options)
    with pytest.raises(TypeError):
        call(client.upload, "/dev/null", "a", **options)
    with pytest.raises(TypeError):
        call(client.preview, "a", b"one", **options)
    with pytest.raises(TypeError):
        call(client.open, "a", "wb", **options)


def test_attributes_and_scheme_and_padding_are_those_that_were_given(call: Call, client: dstore.Client) -> None:
    given = {"type": "text/plain", "naïve": "日本", "empty": ""}
    head = call(client.put, "a", bytes(1001), attributes=given, scheme=dstore.Scheme.HIGH, padding="none").head
    assert head.attributes == given
    assert (head.scheme, head.padded, head.tolerates_nodes) == (dstore.Scheme(2, 4), 1001, 2)
    assert call(client.head, "a") == head
    assert call(client.put, "a", b"", scheme="1+2").head.scheme == dstore.Scheme(1, 2)


def test_an_upload_and_a_download_go_by_local_files(call: Call, client: dstore.Client, tmp_path: Path) -> None:
    content = noise(300_000)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(content)
    target.write_bytes(b"old")
    head = call(client.upload, source, "a", attributes={"from": "disk"}).head
    assert head.attributes == {"from": "disk"}
    assert call(client.download, "a", target) == head
    assert target.read_bytes() == content
    assert call(client.upload, str(source), "b").head.content_hash == head.content_hash
    call(client.get("b").save, str(tmp_path / "saved"))
    assert (tmp_path / "saved").read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["saved", "source", "target"]


def test_a_download_that_fails_leaves_what_was_there(
    call: Call, cluster: dstore.testing.Cluster, client: dstore.Client, tmp_path: Path
) -> None:
    call(client.put, "a", noise(300_000))
    (tmp_path / "target").write_bytes(b"old")
    cluster.kill(0)
    cluster.kill(1)
    with pytest.raises(dstore.NotEnoughShards):
        call(client.download, "a", tmp_path / "target")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("target", b"old")]


def test_a_stream_and_a_loop_give_pieces_in_order(call: Call, client: dstore.Client) -> None:
    content = noise(3_000_001)
    call(client.put, "a", content)
    pieces = call.each(client.get("a"))
    assert b"".join(pieces) == content
    assert all(type(piece) is memoryview and piece.readonly and 0 < len(piece) <= 1 << 16 for piece in pieces)
    stream = call(client.get("a", start=1, end=100_000).stream)
    assert (stream.head.size, stream.size) == (3_000_001, 99_999)
    assert b"".join(call.each(stream)) == content[1:100_000]
    assert call.each(stream) == []


def test_a_get_can_be_started_more_than_once(call: Call, client: dstore.Client) -> None:
    call(client.put, "a", b"content")
    get = client.get("a")
    assert [call(get.bytes), call(get.bytes), b"".join(call.each(get)), b"".join(call.each(get))] == [b"content"] * 4
    call(client.put, "a", b"newer")
    assert call(get.bytes) == b"newer"


def test_ranges_are_slices(call: Call, client: dstore.Client) -> None:
    content = noise(500_000)
    call(client.put, "a", content)
    assert call(client.get_range, "a", start=7, length=10) == content[7:17]
    assert call(client.get_range, "a", start=70_000, end=400_000) == content[70_000:400_000]
    assert call(client.get_range, "a", end=5) == content[:5]
    assert call(client.get_range, "a", length=0) == b""
    assert call(client.get_range, "a", start=499_999, length=10) == content[-1:]
    assert call(client.get_range, "a", start=10**9, length=10) == b""
    assert call(client.get_range, "a", start=2**63, length=2**63) == b""
    assert call(client.get_range, "a") == content
    wanted = [(0, 10), (499_990, 500_010), (5, 5), (100_000, 300_000), (0, 10)]
    assert call(client.get_ranges, "a", wanted) == [content[start:end] for start, end in wanted]
    assert call(client.get_ranges, "a", []) == []
    assert call(client.get("a", start=100, end=200).ranges, [(0, 10), (90, 200)]) == [
        content[100:110],
        content[190:200],
    ]


def test_ranges_that_mean_nothing_are_value_errors(call: Call, client: dstore.Client) -> None:
    call(client.put, "a", b"content")
    for options in ({"start": 3, "end": 1}, {"length": 1, "end": 1}):
        with pytest.raises(ValueError):
            call(client.get_range, "a", **options)
        with pytest.raises(ValueError):
            client.get("a", **options)
    with pytest.raises(ValueError):
        call(client.get_ranges, "a", [(0, 1), (3, 1)])
    for number in (-1, 2**70):
        with pytest.raises(OverflowError):
            call(client.get_range, "a", start=number)


def test_what_is_not_there_is_file_not_found(call: Call, client: dstore.Client, tmp_path: Path) -> None:
    for method, arguments in [
        (client.get("no").bytes, ()),
        (client.get("no").stream, ()),
        (client.get("no").reader, ()),
        (client.get_range, ("no",)),
        (client.get_ranges, ("no", [(0, 1)])),
        (client.download, ("no", tmp_path / "target")),
        (client.head, ("no",)),
        (client.check, ("no",)),
        (client.remove, ("no",)),
        (client.rename, ("no", "other")),
        (client.copy, ("no", "other")),
        (client.history, ("no",)),
    ]:
        with pytest.raises(FileNotFoundError) as raised:
            call(method, *arguments)
        assert isinstance(raised.value, dstore.NotFound)
        assert (raised.value.path, raised.value.filename) == ("no", "no")
    with pytest.raises(dstore.NotFound):
        call.each(client.get("no"))
    assert list(tmp_path.iterdir()) == []
    assert call(client.exists, "no") is False


def test_a_file_exists_until_it_is_removed(call: Call, cluster: dstore.testing.Cluster) -> None:
    with call.within(cluster.client()) as client:
        call(client.put, "a", b"content")
        assert call(client.exists, "a") is True
        removed = call(client.remove, "a")
        assert (removed.path, removed.version) == ("a", 1)
        assert call(client.exists, "a") is False
        assert call(client.put, "b", b"").head.version == 1
        assert call(client.put, "a", b"again", mode="create").head.version == 3
        call(client.remove, "a")
    # A client that is closed has deleted what it no longer needs.
    assert call(cluster.live_shards) == 6


def test_whether_a_file_exists_is_not_answered_when_nobody_knows(
    call: Call, cluster: dstore.testing.Cluster, client: dstore.Client
) -> None:
    call(client.put, "a", b"content")
    cluster.ledger_fault("mute")
    with pytest.raises(dstore.UnknownOutcome):
        call(client.put, "a", b"newer")
    for path in ("a", "no"):
        with pytest.raises(dstore.Unavailable):
            call(client.exists, path)


def test_a_list_gives_every_file_below_its_prefix(call: Call, client: dstore.Client) -> None:
    stored = {path: call(client.put, path, path.encode()).head for path in ("a", "dir/b", "dir/c", "dirt", "日本/x")}
    assert {head.path: head for head in call.each(client.list())} == stored
    assert {head.path for head in call.each(client.list("dir/"))} == {"dir/b", "dir/c"}
    assert {head.path for head in call.each(client.list("nothing/"))} == set()
    listing = client.list("日本/")
    assert isinstance(listing, dstore.Listing)
    assert [head.path for head in call.each(listing)] == ["日本/x"]
    assert call.each(listing) == []


def test_a_list_of_more_files_than_come_at_once_has_each_once(call: Call, client: dstore.Client) -> None:
    paths = [f"{number:03}" for number in range(100)]
    for path in paths:
        call(client.put, path, b"")
    assert sorted(head.path for head in call.each(client.list())) == paths


def test_a_copy_has_the_same_bytes_and_is_a_file_of_its_own(call: Call, client: dstore.Client) -> None:
    content = noise(100_000)
    original = call(client.put, "a", content, attributes={"kept": "yes"}).head
    copied = call(client.copy, "a", "b").head
    assert (copied.path, copied.content_hash, copied.attributes) == ("b", original.content_hash, {"kept": "yes"})
    assert {shard.node for shard in copied.shards}
    assert copied.file_id != original.file_id
    call(client.remove, "a")
    assert call(client.get("b").bytes) == content
    call(client.put, "a", b"other")
    with pytest.raises(dstore.AlreadyExists):
        call(client.copy, "a", "b", mode="create")
    with pytest.raises(dstore.VersionConflict):
        call(client.copy, "a", "b", if_version=7)
    assert call(client.copy, "a", "b", if_version=1).head.version == 2


def test_a_rename_moves_the_file_and_refuses_to_replace_one(
    call: Call, cluster: dstore.testing.Cluster, client: dstore.Client
) -> None:
    call(client.put, "a", b"content")
    renamed = call(client.rename, "a", "dir/b")
    assert renamed.path == "dir/b"
    assert not call(client.exists, "a")
    assert call(client.get("dir/b").bytes) == b"content"
    assert call(cluster.live_shards) == 6
    call(client.put, "a", b"other")
    with pytest.raises(dstore.AlreadyExists):
        call(client.rename, "a", "dir/b")


def test_the_history_tells_every_version_newest_first(call: Call, client: dstore.Client) -> None:
    call(client.put, "a", b"1")
    second = call(client.put, "a", b"22").head
    call(client.remove, "a")
    call(client.put, "b", b"333")
    call(client.rename, "b", "a")
    versions = call(client.history, "a")
    assert [(each.version, each.kind) for each in versions] == [
        (4, "renamed_here"),
        (3, "removed"),
        (2, "put"),
        (1, "put"),
    ]
    assert versions[2].head == second
    assert versions[1].head is None
    times = [each.written for each in versions]
    assert times == sorted(times, reverse=True)
    assert all(time.tzinfo is UTC for time in times)
    assert [each.kind for each in call(client.history, "b")] == ["renamed_away", "put"]
