"""Every example in a docstring of the package, and in the texts for its users, runs."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import doctest
import inspect
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dstore
import dstore.testing
import pytest

FOLDER = Path(__file__).resolve().parents[1]
OPTIONS = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL | doctest.NORMALIZE_WHITESPACE
TWIN = "_async"


def described(owner: type, name: str) -> str | None:
    """The docstring of what a class defines itself; None for what it does not, or what has a protocol's meaning."""
    if name.startswith("_") or name not in vars(owner):
        return None
    member = inspect.getattr_static(owner, name)
    if not (callable(member) or isinstance(member, classmethod | staticmethod) or inspect.isdatadescriptor(member)):
        return None
    return inspect.getdoc(getattr(owner, name) if isinstance(member, classmethod | staticmethod) else member) or ""


def public() -> Iterator[tuple[str, Any]]:
    """Every public class and function."""
    for module in (dstore, dstore.testing):
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                yield f"{module.__name__}.{name}", thing


def members() -> Iterator[tuple[str, type, str]]:
    """Every public method and property that a class of the package defines, base classes that are private included."""
    for path, thing in public():
        if inspect.isclass(thing):
            for kind in thing.__mro__:
                if kind.__module__.startswith("dstore"):
                    for name in vars(kind):
                        if described(kind, name) is not None and not is_field(kind, name):
                            yield f"{path}.{name}", kind, name


def is_field(kind: type, name: str) -> bool:
    """Whether it is a field of a dataclass with slots: its docstring is in the source, where editors find it."""
    return name in getattr(kind, "__dataclass_fields__", {})


def docstrings() -> dict[str, str]:
    """All docstrings, by what they describe."""
    found = {module.__name__: module.__doc__ or "" for module in (dstore, dstore.testing)}
    found |= {path: inspect.getdoc(thing) or "" for path, thing in public()}
    found |= {path: described(kind, name) or "" for path, kind, name in members()}
    return found


DOCSTRINGS = docstrings()
TWINS = [
    (path.removesuffix(TWIN), kind, name.removesuffix(TWIN)) for path, kind, name in members() if name.endswith(TWIN)
]


@pytest.fixture
def names(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What every example has."""
    with dstore.testing.Cluster(nodes=3) as network, network.client() as client:
        yield {"asyncio": asyncio, "client": client, "dstore": dstore, "network": network, "path": tmp_path}


def run(text: str, names: dict[str, Any], source: str) -> None:
    """Runs the examples in a text."""
    test = doctest.DocTestParser().get_doctest(text, names, source, source, 0)
    told: list[str] = []
    results = doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=told.append)
    assert not results.failed, "".join(told)


@pytest.mark.parametrize("path", [path for path, text in DOCSTRINGS.items() if ">>>" in text])
def test_the_example_runs(path: str, names: dict[str, Any]) -> None:
    run(DOCSTRINGS[path], names, path)


def test_everything_public_has_a_docstring() -> None:
    assert len(DOCSTRINGS) > 200
    assert [path for path, text in DOCSTRINGS.items() if not text] == []


def test_a_class_or_method_that_does_something_has_an_example() -> None:
    kinds = (dstore.Client, dstore.Get, dstore.Owner, dstore.Registry, dstore.Scheme, dstore.StorageNode)
    classes = [*(f"dstore.{kind.__name__}" for kind in kinds), "dstore.testing.Cluster"]
    missing = {
        path
        for path, text in DOCSTRINGS.items()
        if (path in classes or path.rpartition(".")[0] in classes) and ">>>" not in text and not path.endswith(TWIN)
    }
    # That one needs a keystore.
    assert missing == {"dstore.Owner.open_keystore"}


@pytest.mark.parametrize(("path", "kind", "name"), TWINS, ids=[path for path, _, _ in TWINS])
def test_a_twin_says_of_which_method_it_is_one_and_takes_the_same(path: str, kind: type, name: str) -> None:
    assert DOCSTRINGS[path + TWIN].startswith(f"`{name}`, for asyncio"), path
    method, twin = (inspect.signature(getattr(kind, each)) for each in (name, name + TWIN))
    expected = [each for each in method.parameters if (path, each) != ("dstore.Client.open", "buffering")]
    assert [*twin.parameters] == expected
    for parameter in expected:
        one, other = method.parameters[parameter], twin.parameters[parameter]
        assert (one.kind, one.default) == (other.kind, other.default)


SIGNATURES = {
    "Client": "(*, owner, ledger, registry=None, **settings)",
    "Cluster": "(nodes=3)",
    "LocalLedger": "(path)",
    "Scheme": "(data, parity)",
    "StorageNode": "(**settings)",
}


def test_every_signature_is_known() -> None:
    kinds = [kind for _, kind in public() if inspect.isclass(kind)]
    signatures = {kind.__name__: str(inspect.signature(kind)) for kind in kinds if kind.__name__ in SIGNATURES}
    assert signatures == SIGNATURES
    assert inspect.signature(dstore.testing.Cluster.add_node).parameters["capacity"].default == 1 << 40
    for _, kind, name in members():
        member = getattr(kind, name)
        if callable(member):
            inspect.signature(member)


def test_a_doc_names_no_exception_that_is_not_there() -> None:
    for path, text in DOCSTRINGS.items():
        for line in re.findall(r"Raises? .*?(?:\n\n|$)", text, re.DOTALL):
            for name in re.findall(r"`([A-Z]\w+)`", line):
                assert name in dstore.__all__ or hasattr(builtins, name), f"{path}: {name}"


def blocks(text: str) -> list[str]:
    """The Python code in Markdown."""
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def code_of(document: str) -> list[tuple[str, str]]:
    text = (FOLDER / document).read_text()
    return [(f"{document}, block {number}", code) for number, code in enumerate(blocks(text), 1)]


SETTINGS = ("DSTORE_", "ETH_", "ALCHEMY_")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for variable in [each for each in os.environ if each.startswith(SETTINGS)]:
        monkeypatch.delenv(variable)
    return tmp_path


@pytest.mark.parametrize("document", ["README.md", "../README.md"])
def test_the_code_in_the_readme_runs_from_its_first_block_to_its_last(document: str, place: Path) -> None:
    # One after the other, as somebody types them: later blocks use what earlier ones made.
    names: dict[str, Any] = {"__name__": "readme"}
    code = code_of(document)
    assert code
    with contextlib.ExitStack() as after:
        after.callback(logging.getLogger("dstore").setLevel, logging.NOTSET)
        for source, block in code:
            exec(compile(block, source, "exec"), names)
        for each in names.values():
            if isinstance(each, dstore.Client | dstore.StorageNode | dstore.Registry | dstore.testing.Cluster):
                after.callback(each.close if isinstance(each, dstore.Client) else each.stop)


def test_the_readme_lists_every_exception_with_its_code_and_builtin() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| `(\w+)` \| `(\w+)` \| (yes|no) \|", (FOLDER / "README.md").read_text(), re.MULTILINE
    )
    kinds = [kind for _, kind in public() if inspect.isclass(kind) and issubclass(kind, dstore.DstoreError)]
    assert set(rows) == {
        (kind.__name__, kind.code, builtin(kind).__name__, "yes" if kind.retryable else "no")
        for kind in kinds
        if kind is not dstore.DstoreError
    }


def builtin(kind: type) -> type:
    return next(base for base in kind.__mro__ if base.__module__ == "builtins")
