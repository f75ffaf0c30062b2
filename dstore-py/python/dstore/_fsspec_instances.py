"""Instances of `dstore.fsspec.DstoreFileSystem`: which are shared, and how those who wait call them."""

# fsspec has no types.
# mypy: disable-error-code="import-untyped"

import asyncio
import atexit
import functools
import inspect
import os
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from fsspec.spec import AbstractFileSystem
from fsspec.utils import tokenize

from dstore._dstore import Client

T = TypeVar("T")

#: Seconds that a call waits, after Ctrl-C, for its work to end.
PATIENCE = 1

#: What chooses the settings of a client, beside the options themselves.
SURROUNDINGS = ("DSTORE_", "ETH_", "ALCHEMY_", "HOME", "XDG_DATA_HOME")


class Instances(type(AbstractFileSystem)):  # type: ignore[misc]  # fsspec has no types
    """fsspec shares instances with the same arguments. So do we, as far as these mean the same client."""

    @property
    def surroundings(cls) -> int:
        """Changes with what a client takes from the environment. It tells nothing about that: it is salted."""
        variables = [item for item in os.environ.items() if item[0].startswith(SURROUNDINGS)]
        with suppress(OSError):
            variables.append(("", str(Path.cwd())))
        return hash(frozenset(variables))

    def __call__(cls, *args: Any, **options: Any) -> Any:
        """An instance: a new one for each call that names a client, for a client has no name of its own."""
        if options.get("client") is None:
            return super().__call__(*args, **options)
        instance = super().__call__(*args, **{**options, "skip_instance_cache": True})
        instance._fs_token_ = tokenize(instance._fs_token_, id(options["client"]))
        return instance


def with_sync_methods(kind: type) -> type:
    """Gives a class, for each of its coroutines `_x` that fsspec knows as `x`, a method `x` for callers who wait."""
    for name in dir(kind):
        public, method = name[1:], getattr(kind, name)
        if not name.startswith("_") or name.startswith("__") or not hasattr(AbstractFileSystem, public):
            continue
        if getattr(kind, public) is not getattr(AbstractFileSystem, public):
            continue
        if inspect.iscoroutinefunction(method):
            setattr(kind, public, _blocking(method, public))
        elif inspect.isasyncgenfunction(method):
            setattr(kind, public, _iterating(method, public))
    return kind


def _blocking(method: Callable[..., Coroutine[Any, Any, T]], name: str) -> Callable[..., T]:
    @functools.wraps(method)
    def call(self: Any, *args: Any, **options: Any) -> T:
        return wait(self.loop, method(self, *args, **options))

    _document(call, name)
    return call


def _iterating(method: Callable[..., AsyncIterator[T]], name: str) -> Callable[..., Iterator[T]]:
    @functools.wraps(method)
    def call(self: Any, *args: Any, **options: Any) -> Iterator[T]:
        items = method(self, *args, **options)
        with suppress(StopAsyncIteration):
            while True:
                yield wait(self.loop, _next(items))

    _document(call, name)
    return call


def _document(call: Any, name: str) -> None:
    call.__name__ = name
    call.__doc__ = call.__doc__ or getattr(AbstractFileSystem, name).__doc__


async def _next(items: AsyncIterator[T]) -> T:
    return await anext(items)


def wait(loop: asyncio.AbstractEventLoop | None, work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives on an event loop in another thread.

    fsspec's own way to wait lets work go on after Ctrl-C, and makes other exceptions of our timeouts.
    """
    if loop is None:
        work.close()
        raise RuntimeError("this file system is asynchronous: await its methods that begin with _")
    if asyncio._get_running_loop() is loop:
        work.close()
        raise NotImplementedError("a call that waits would hold up the event loop that is to do its work")
    tasks: list[asyncio.Task[T] | None] = []
    given_up, ended = threading.Event(), threading.Event()

    async def run() -> T:
        tasks.append(asyncio.current_task())
        try:
            if given_up.is_set():
                work.close()
                raise asyncio.CancelledError
            return await work
        finally:
            ended.set()

    def cancel() -> None:
        for task in tasks:
            if task is not None:
                task.cancel()

    try:
        return asyncio.run_coroutine_threadsafe(run(), loop).result()
    except BaseException:
        # Of the work, or of this thread: Ctrl-C may come at any moment, even before the work has begun.
        given_up.set()
        if not ended.is_set():
            loop.call_soon_threadsafe(cancel)
            ended.wait(PATIENCE)
        raise


_OPEN: "weakref.WeakSet[Client]" = weakref.WeakSet()


def close_at_exit(client: Client) -> None:
    """Gives a client, which nobody closes, the time at exit to finish what goes on after a write."""
    _OPEN.add(client)


@atexit.register
def _close_all() -> None:
    for client in list(_OPEN):
        # As a block that failed would: for two seconds at most. After a fork, it is somebody else's.
        with suppress(RuntimeError):
            client.__exit__(SystemExit, None, None)
