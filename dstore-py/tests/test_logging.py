"""What the extension tells goes to Python's `logging`, under `dstore.*`, and nowhere else."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Iterator

import dstore
import dstore.testing
import pytest
from conftest import Call, noise


@pytest.fixture(autouse=True)
def level() -> Iterator[None]:
    """The level of the logger is as before afterwards."""
    yield
    logging.getLogger("dstore").setLevel(logging.NOTSET)


def warned(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name.startswith("dstore")]


def fail_over(call: Call) -> None:
    """Does what makes the library warn, and what it only tells of when asked to."""
    with dstore.testing.Cluster(nodes=3) as cluster, cluster.client() as client:
        call(client.put, "secret path", noise(100_000), attributes={"secret name": "secret value"})
        cluster.corrupt(0)
        assert call(client.get("secret path").bytes) == noise(100_000)
        call(client.rename, "secret path", "another secret")
        call(client.remove, "another secret")


def test_a_warning_is_a_record_under_dstore(call: Call, caplog: pytest.LogCaptureFixture) -> None:
    before = time.time()
    fail_over(call)
    records = [record for record in warned(caplog) if "block_corrupt" in record.getMessage()]
    assert records
    for record in records:
        assert record.levelno == logging.WARNING
        assert record.name.startswith("dstore.client")
        assert before - 1 < record.created < time.time() + 1
        assert 0 <= record.msecs < 1000
        assert record.args in (None, ())
        assert "\x1b" not in record.getMessage()
    assert all(record.levelno >= logging.WARNING for record in warned(caplog))


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL])
def test_the_level_of_the_logger_decides_what_is_told(call: Call, caplog: pytest.LogCaptureFixture, level: int) -> None:
    logging.getLogger("dstore").setLevel(level)
    caplog.handler.setLevel(logging.NOTSET)
    fail_over(call)
    levels = {record.levelno for record in warned(caplog)}
    assert all(each >= level for each in levels)
    assert (logging.WARNING in levels) is (level <= logging.WARNING)
    assert (logging.DEBUG in levels) is (level <= logging.DEBUG)


def test_a_logger_below_may_be_told_less(call: Call, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("dstore").setLevel(logging.DEBUG)
    quiet = logging.getLogger("dstore.client")
    quiet.setLevel(logging.CRITICAL)
    try:
        fail_over(call)
    finally:
        quiet.setLevel(logging.NOTSET)
    names = {record.name for record in warned(caplog)}
    assert names
    assert not any(name.startswith("dstore.client") for name in names)


def test_no_record_has_a_path_or_a_secret(call: Call, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("dstore").setLevel(1)
    caplog.handler.setLevel(logging.NOTSET)
    with dstore.testing.Cluster(nodes=3) as cluster:
        secret = cluster.owner.export_secret()
        client = cluster.client()
        call(client.put, "secret path", noise(100_000))
        cluster.ledger_fault("lose")
        with pytest.raises(dstore.UnknownOutcome):
            call(client.put, "secret path", noise(10))
        cluster.ledger_fault(None)
        cluster.corrupt(0)
        call(client.get("secret path").bytes)
        cluster.kill(1)
        cluster.kill(2)
        with pytest.raises(dstore.NotEnoughShards):
            call(client.get("secret path").bytes)
    fail_over(call)
    texts = [record.getMessage() for record in warned(caplog)]
    assert len(texts) > 20
    for text in texts:
        assert "secret" not in text
        assert secret not in text


SCRIPT = """
import sys
import dstore, dstore.testing
def work():
    with dstore.testing.Cluster(nodes=3) as cluster, cluster.client() as client:
        client.put("a", bytes(100_000))
        if "corrupt" in sys.argv:
            cluster.corrupt(0)
        client.get("a").bytes()
if "logging" in sys.argv:
    import logging
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s")
if "null" in sys.argv:
    import logging
    logging.getLogger("dstore").addHandler(logging.NullHandler())
    logging.getLogger("dstore").propagate = False
work()
"""


def printed(*arguments: str) -> tuple[str, str]:
    """What a program prints that does this."""
    ended = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=True)
    return ended.stdout, ended.stderr


def test_nothing_is_printed_beyond_what_logging_does_by_itself() -> None:
    assert printed() == ("", "")
    # Without any handler, logging itself shows warnings as they are.
    out, err = printed("corrupt")
    assert out == ""
    assert "block_corrupt" in err
    out, err = printed("corrupt", "logging")
    assert out == ""
    assert set(err.split("\n")) == {"WARNING dstore.client.report", ""}
    assert printed("corrupt", "null") == ("", "")
