"""The tests that fsspec has for every file system, over a network in memory."""

from collections.abc import Iterator

import dstore
import dstore.testing
import pytest
from dstore.fsspec import DstoreFileSystem
from fsspec.tests import abstract


class Fixtures(abstract.AbstractFixtures):
    @pytest.fixture(scope="class")
    def client(self) -> Iterator[dstore.Client]:
        with dstore.testing.Cluster(nodes=3) as network, network.client(scheme="2+1") as client:
            yield client

    @pytest.fixture
    def fs(self, client: dstore.Client) -> DstoreFileSystem:
        return DstoreFileSystem(client=client)

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
