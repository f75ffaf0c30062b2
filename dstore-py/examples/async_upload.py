"""Stores what an async iterator gives, with progress, while something else goes on; then reads it back in pieces."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator

import dstore.testing

PIECE = 1 << 20


async def main() -> None:
    sent, came = hashlib.sha256(), hashlib.sha256()

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(8):
            piece = await asyncio.to_thread(os.urandom, PIECE)
            sent.update(piece)
            yield piece

    def show(progress: dstore.Progress) -> None:
        print(f"{progress.bytes_durable} bytes durable after {progress.seconds:.2f} s")

    async with dstore.testing.Cluster(nodes=4) as network, network.client() as client:
        big = client.put_async("big.bin", pieces(), progress=show)
        small = client.put_async("small.txt", b"meanwhile")
        committed, _ = await asyncio.gather(big, small)
        async for piece in client.get("big.bin"):
            came.update(piece)
    assert came.digest() == sent.digest()
    print(f"stored {committed.head.size} bytes, and read them back")


asyncio.run(main())
