"""Stores what comes piece by piece: file objects and iterators. The extension calls this.

Everything of the caller's runs where the caller is: on this thread, or on the event loop. What it raises ends the put.
"""

import asyncio
import inspect
from collections.abc import AsyncIterable, Iterable, Iterator
from typing import Any

from dstore._dstore import RawWriter
from dstore._values import Committed

#: Bytes that are asked of a file object at once.
_READ = 1 << 20


def store(writer: RawWriter, source: Any) -> Committed:
    """Writes all of `source`, and finishes."""
    if not hasattr(source, "read") and not hasattr(source, "__iter__"):
        writer.discard()
        raise TypeError("an asynchronous source needs put_async")
    try:
        for piece in _read(source) if hasattr(source, "read") else source:
            writer.write(_checked(piece))
    except BaseException:
        writer.discard()
        raise
    return writer.finish()


async def store_async(writer: RawWriter, source: Any) -> Committed:
    """`store` on an event loop. Of an asynchronous source, each piece is awaited; a file is read in another thread."""
    try:
        if hasattr(source, "read"):
            await _store_file(writer, source)
        elif isinstance(source, AsyncIterable):
            async for piece in source:
                await writer.write_async(_checked(piece))
        else:
            for piece in _iterable(source):
                await writer.write_async(_checked(piece))
    except BaseException:
        writer.abandon()
        raise
    return await writer.finish_async()


async def _store_file(writer: RawWriter, file: Any) -> None:
    is_async = inspect.iscoroutinefunction(file.read)
    while True:
        piece = await file.read(_READ) if is_async else await asyncio.to_thread(file.read, _READ)
        if inspect.isawaitable(piece):
            piece = await piece
        if not _checked(piece):
            return
        await writer.write_async(piece)


def _read(file: Any) -> Iterator[Any]:
    while piece := _checked(file.read(_READ)):
        yield piece


def _iterable(source: Any) -> Iterable[Any]:
    return source  # type: ignore[no-any-return]


def _checked(piece: Any) -> Any:
    if isinstance(piece, str):
        raise TypeError("the source gave a str: open the file in binary mode, or encode what an iterator gives")
    if piece is None:
        raise BlockingIOError("the source has nothing to read now: non-blocking files cannot be stored")
    if not isinstance(piece, bytes):
        # What is no bytes-like object is no end of a file either.
        memoryview(piece)
    return piece
