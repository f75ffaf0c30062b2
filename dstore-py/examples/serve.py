"""Runs a registry and three storage nodes in this process, on loopback, and stores a file on them.

Give it a folder to keep them in, and --stay to serve until Ctrl-C.
"""

import argparse
import contextlib
import signal
import tempfile
from pathlib import Path

import dstore


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="where it is kept; default: a temporary folder")
    parser.add_argument("--stay", action="store_true", help="serve until Ctrl-C")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as running:
        folder = arguments.folder or Path(running.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(exist_ok=True)
        registry = running.enter_context(dstore.Registry(dir=folder / "registry"))
        print("registry at", registry.address)
        for name in ("node1", "node2", "node3"):
            node = dstore.StorageNode(dir=folder / name, registry=registry.address, free_floor=0)
            print("node at", running.enter_context(node).address)

        key = folder / "me.key"
        owner = dstore.Owner.open(key) if key.exists() else dstore.Owner.create(key)
        ledger = dstore.LocalLedger(folder / "ledger.db")
        with dstore.Client(owner=owner, ledger=ledger, registry=registry.address) as client:
            head = client.put("serve.py", Path(__file__)).head
            assert client.get("serve.py").bytes() == Path(__file__).read_bytes()
            print(f"stored on {len({shard.node for shard in head.shards})} nodes, and read back")
        if arguments.stay:
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()


if __name__ == "__main__":
    main()
