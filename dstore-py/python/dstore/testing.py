"""A whole network in one process, for tests.

>>> import dstore.testing
>>> with dstore.testing.Cluster(nodes=3) as network, network.client() as client:
...     _ = client.put("a.txt", b"hello")
...     network.kill(0)
...     client.get("a.txt").bytes()
b'hello'
"""

from dstore._dstore import Cluster

__all__ = ["Cluster"]
