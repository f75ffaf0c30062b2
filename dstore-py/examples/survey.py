"""Looks at every file: how many of its nodes may still vanish."""

import dstore.testing


def spare_nodes(check: dstore.FileCheck) -> int:
    """How many more nodes may vanish, whichever they are; -1 when the file cannot be read now."""
    held: dict[str, int] = {}
    for shard in check.shards:
        if shard.state == "ok":
            held[shard.home.node] = held.get(shard.home.node, 0) + 1
    spare = sum(held.values()) - check.head.scheme.data
    vanished = 0
    for shards in sorted(held.values(), reverse=True):
        spare -= shards
        if spare < 0:
            break
        vanished += 1
    return vanished if sum(held.values()) >= check.head.scheme.data else -1


with dstore.testing.Cluster(nodes=3) as network, network.client() as client:
    for name, scheme in (("a.txt", "2+4"), ("b.txt", "2+4"), ("c.txt", "4+2")):
        client.put(name, b"hello", scheme=scheme)
    network.kill(0)
    in_danger = 0
    files = sorted(client.list(), key=lambda head: head.path)
    for head in files:
        spare = spare_nodes(client.check(head.path))
        in_danger += spare <= 0
        print(f"{head.path}: {spare} more nodes may vanish")
print(f"{in_danger} of {len(files)} files can lose no more nodes")
