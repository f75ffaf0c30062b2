"""What waits has a twin for asyncio, and the tests call both."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import dstore
import dstore.testing
import pytest
from conftest import CALLED, is_whole_suite

DUNDERS = {"__aenter__": "__enter__", "__aexit__": "__exit__", "__aiter__": "__iter__", "__anext__": "__next__"}

WITHOUT_TWIN = {
    "Client": {
        "from_env": "reads local files, like every constructor",
        "get": "begins nothing: what it gives does",
        "list": "begins nothing: what it gives does",
        "transport_key": "computes",
    },
    "Cluster": dict.fromkeys(
        ("client", "corrupt", "hang", "index_of", "kill", "kill_registry", "ledger_fault", "resume"),
        "changes what is in memory, at once",
    ),
    "EthereumAccount": {"ledger": "begins nothing"},
    "LocalLedger": {"restore": "reads and writes a local file, like every constructor"},
    "Owner": dict.fromkeys(
        ("create", "export_secret", "generate", "open", "open_keystore", "parse", "save", "transport_key"),
        "a local file, or nothing but memory",
    ),
    "Reader": {
        "readall": "io's word for read()",
        "readinto": "of the protocol of io, whose callers wait; read_async gives what it gives",
        "readable": "io asks",
        "seek": "fetches nothing",
        "seekable": "io asks",
        "tell": "fetches nothing",
        "write": "there is none",
    },
    "Registry": {"nodes": "it knows", "metrics": "it knows"},
    "Scheme": {"parse": "computes"},
    "StorageNode": {"drain": "tells it, without waiting", "invite": "computes", "metrics": "it knows"},
    "Writer": {"readinto": "there is none", "tell": "it knows", "writable": "io asks"},
}


def classes() -> Iterator[type]:
    """The public classes that are neither values nor exceptions."""
    for name in [*dstore.__all__, "Cluster"]:
        found = getattr(dstore, name, None) or getattr(dstore.testing, name)
        is_class = inspect.isclass(found) and not issubclass(found, (BaseException, dict))
        if is_class and not hasattr(found, "__dataclass_fields__"):
            yield found


def methods(kind: type) -> set[str]:
    """What is its own, or of a base class of ours."""
    own = [base for base in kind.__mro__ if base.__module__.startswith("dstore")]
    return {name for base in own for name, value in vars(base).items() if callable(value) or hasattr(value, "__func__")}


def pairs() -> set[tuple[str, str]]:
    """Class and name of every method that has a twin."""
    found = set()
    for kind in classes():
        for name in methods(kind):
            if name.endswith("_async"):
                found.add((kind.__name__, name.removesuffix("_async")))
            elif name in DUNDERS:
                found.add((kind.__name__, DUNDERS[name]))
    return found


def test_every_twin_has_one_for_blocking_callers() -> None:
    missing = [
        f"{kind.__name__}.{name}"
        for kind in classes()
        for of, name in pairs()
        if of == kind.__name__ and not hasattr(kind, name)
    ]
    assert missing == []
    assert len(pairs()) > 50


def test_every_method_has_a_twin_or_a_reason_to_have_none() -> None:
    twins = pairs()
    for kind in classes():
        public = {name for name in methods(kind) if not name.startswith("_") and not name.endswith("_async")}
        alone = {name for name in public if (kind.__name__, name) not in twins}
        assert alone <= set(WITHOUT_TWIN.get(kind.__name__, {})), kind


def test_a_twin_takes_what_its_method_takes() -> None:
    for kind in classes():
        for name in methods(kind):
            if not name.endswith("_async"):
                continue
            mine, theirs = (inspect.signature(getattr(kind, each)) for each in (name.removesuffix("_async"), name))
            # A buffer is for callers who wait.
            expected = [parameter for parameter in mine.parameters if parameter != "buffering"]
            assert list(theirs.parameters) == expected, f"{kind.__name__}.{name}"


@pytest.mark.last
def test_these_tests_call_every_twin(request: pytest.FixtureRequest) -> None:
    if not is_whole_suite(request.session):
        pytest.skip("only some of the tests run")
    # Batches is how streams and listings are made; a loop calls both of its methods.
    looped = {(kind, "__next__") for kind, name in CALLED if name == "__iter__"}
    assert pairs() - CALLED - looped == set()
