"""Stores a file on three nodes in memory, loses one of them, and gets the file back."""

import dstore.testing

data = b"hello " * 1000
with dstore.testing.Cluster(nodes=3) as network, network.client() as client:
    committed = client.put("notes/hello.txt", data)
    print(f"{committed.head.size} bytes in {len(committed.head.shards)} shards")
    network.kill(0)
    assert client.get("notes/hello.txt").bytes() == data
print("the same bytes came back from two of three nodes")
