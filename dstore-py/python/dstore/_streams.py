"""Iterators, for both kinds of loops, over what the extension gives in batches."""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Generic, Protocol, TypeVar

from dstore._values import Head

T = TypeVar("T")


class _Raw(Protocol[T]):
    """Gives some items at a time; none at the end."""

    def next_batch(self) -> list[T]: ...

    def next_batch_async(self) -> Awaitable[list[T]]: ...


class Batches(Generic[T]):
    """An iterator in `for` and in `async for`. It can be gone through once."""

    def __init__(self, raw: _Raw[T]) -> None:
        self._raw = raw
        self._ready: deque[T] = deque()
        self._lost = False

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if not self._ready:
            self._begin()
            self._ready.extend(self._raw.next_batch())
            self._lost = False
        if not self._ready:
            raise StopIteration
        return self._ready.popleft()

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        if not self._ready:
            self._begin()
            self._ready.extend(await self._raw.next_batch_async())
            self._lost = False
        if not self._ready:
            raise StopAsyncIteration
        return self._ready.popleft()

    def _begin(self) -> None:
        """What is asked for and does not arrive here, because of an interrupt or a failure, would be missing."""
        if self._lost:
            raise RuntimeError("the stream was interrupted, has failed, or another thread reads it: begin again")
        self._lost = True


class Listing(Batches[Head]):
    """Files of an owner, in no order: iterate over it once, with `for` or `async for`. `Client.list` makes it.

    >>> committed = client.put("notes/a.txt", b"hello")
    >>> [head.path for head in client.list()]
    ['notes/a.txt']
    """


class ByteStream(Batches[memoryview]):
    """The bytes of a file in order, as read-only memoryviews of up to 64 KiB: none of them is a copy.

    `Get.stream` makes it. Iterate over it once, with `for` or `async for`. It raises what a read of `Client.get` does,
    and `Superseded` when the file is replaced meanwhile and the old shards are gone.

    >>> committed = client.put("a.bin", bytes(100_000))
    >>> stream = client.get("a.bin", start=10).stream()
    >>> stream.head.size, stream.size, sum(len(piece) for piece in stream)
    (100000, 99990, 99990)
    """

    def __init__(self, raw: _Raw[memoryview], opened: tuple[Head, int]) -> None:
        super().__init__(raw)
        self.head, self.size = opened
        """The file that is read, and how many bytes of it come."""


async def opened_async(raw: _Raw[memoryview], opened: Awaitable[tuple[Head, int]]) -> ByteStream:
    """A stream once it is open. The extension calls this."""
    return ByteStream(raw, await opened)
