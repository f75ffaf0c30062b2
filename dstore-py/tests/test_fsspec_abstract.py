"""The tests that fsspec has for every file system, over a network in memory."""

# fsspec has no types.
# mypy: disable-error-code="import-untyped, misc, no-untyped-call"

from collections.abc import Iterator

import dstore
import dstore.testing
import pytest
from dstore.fsspec import DstoreFileSystem
from fsspec.tests import abstract


@pytest.fixture(scope="module")
def stored() -> Iterator[dstore.Client]:
    with dstore.testing.Cluster(nodes=3) as network, network.client(scheme="2+1") as client:
        yield client


class Fixtures(abstract.AbstractFixtures):
    @pytest.fixture
    def fs(self, stored: dstore.Client) -> DstoreFileSystem:
        return DstoreFileSystem(client=stored)

    @pytest.fixture
    def fs_path(self) -> str:
        return "base"

    @pytest.fixture
    def supports_empty_directories(self) -> bool:
        return False


class TestCopy(Fixtures, abstract.AbstractCopyTests):
    pass


class TestGet(Fixtures, abstract.AbstractGetTests):
    pass


class TestPut(Fixtures, abstract.AbstractPutTests):
    pass


class TestOpen(Fixtures, abstract.AbstractOpenTests):
    pass


class TestPipe(Fixtures, abstract.AbstractPipeTests):
    pass


def test_no_tests_of_fsspec_are_left_out() -> None:
    theirs = {name for name in vars(abstract) if name.startswith("Abstract") and name.endswith("Tests")}
    ours = {base.__name__ for kind in Fixtures.__subclasses__() for base in kind.__bases__ if base is not Fixtures}
    assert ours == theirs
