"""Files as Python knows them: `io.RawIOBase` over the extension's readers and writers."""

import io
import opcode
import sys
import threading
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from dstore._dstore import RawReader, RawWriter
from dstore._values import Committed, Head

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from typing_extensions import Buffer

    from dstore._dstore import Client


#: Bytes that a buffered reader asks for: two segments of a file, so that the next one is on its way.
BUFFER = 128 << 10


class Reader(io.RawIOBase):
    """A file, or a range of one, that can be read from any position.

    `Client.open` with `buffering=0`, `Client.open_async` and `Get.reader` make one. It reads the version that was
    current then, to its end: when the file is replaced meanwhile and the old shards are gone, reads raise `Superseded`.
    They also raise what a read of `Client.get` does, and `ValueError` once it is closed. Not to be used by several
    threads at once: open several.

    >>> committed = client.put("notes/a.txt", b"hello world")
    >>> with client.open("notes/a.txt", buffering=0) as file:
    ...     file.seek(6), file.read(3), file.tell(), file.size
    (6, b'wor', 9, 11)
    """

    def __init__(self, raw: RawReader) -> None:
        self._raw = raw
        self._turn = threading.Lock()

    @property
    def head(self) -> Head:
        """The file that is read."""
        return self._raw.head

    @property
    def size(self) -> int:
        """Bytes that can be read: those of the file, or of the range that was asked for."""
        return self._raw.size

    def read(self, size: int | None = -1, /) -> bytes:
        """The next `size` bytes, fewer at the end only; all that are left when it is negative or None."""
        self._check_open()
        return self._raw.read(None if size is None or size < 0 else size)

    async def read_async(self, size: int | None = -1, /) -> bytes:
        """`read`, for asyncio. Raises `RuntimeError` while another one is under way."""
        self._check_open()
        if not self._turn.acquire(blocking=False):
            raise RuntimeError("another read of this file is under way: open it again to read two parts at once")
        try:
            position = self._raw.tell()
            data = await self._raw.read_async(None if size is None or size < 0 else size)
            # Not before: a read that is cancelled here has given nothing.
            self._raw.seek(position + len(data), io.SEEK_SET)
        finally:
            self._turn.release()
        return data

    def readall(self) -> bytes:
        """All bytes that are left."""
        return self.read()

    def readinto(self, buffer: "Buffer", /) -> int:
        """Fills `buffer` with the next bytes; says how many, which are fewer at the end only."""
        self._check_open()
        return self._raw.readinto(buffer)

    def write(self, _: "Buffer", /) -> int:
        """Raises io.UnsupportedOperation, as a file that was opened to be read does."""
        raise io.UnsupportedOperation("not writable")

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Moves to a position, which may be beyond the end; says which. Nothing is fetched.

        Raises `ValueError` for a position before the beginning.
        """
        self._check_open()
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        """Where the next byte is read."""
        self._check_open()
        return self._raw.tell()

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")


class Writer(io.RawIOBase):
    """A file that is stored when this is closed, all of it or nothing.

    `Client.open` makes one with the modes "wb" and "xb". At the end of a `with` block the file is stored; when that
    ends with an exception, nothing is. One that is neither closed nor used with `with` stores nothing and warns. Writes
    and closing raise what `Client.put` does; after that nothing is stored. Not to be used by several threads at once.

    >>> with client.open("notes/a.txt", "xb") as file:
    ...     file.write(b"hello")
    5
    >>> file.committed.head.size
    5
    """

    def __init__(self, raw: RawWriter) -> None:
        self._raw = raw
        self._position = 0
        self._turn = threading.Lock()
        self.committed: Committed | None = None
        """What was stored, once it is closed."""

    def write(self, data: "Buffer", /) -> int:
        """Takes all of `data`, which may change afterwards, and says how many bytes that is.

        Waits when nodes are slower than the caller. Raises what `Client.put` does, `ValueError` once it is closed, and
        `RuntimeError` after a write that failed or was interrupted, and while another call is under way.
        """
        self._begin(data)
        try:
            count = self._raw.write(data)
        except BaseException:
            # Nobody knows how much of it was taken.
            self._raw.abandon()
            raise
        finally:
            self._turn.release()
        self._position += count
        return count

    async def write_async(self, data: "Buffer", /) -> int:
        """`write`, for asyncio."""
        self._begin(data)
        try:
            count = await self._raw.write_async(data)
        except BaseException:
            self._raw.abandon()
            raise
        finally:
            self._turn.release()
        self._position += count
        return count

    def close(self) -> None:
        """Stores the file. Raises what `Client.put` does, and then nothing is stored."""
        if self.closed:
            return
        if ends_a_failed_block():
            # What wraps this file closes it at the end of its own `with` block, however that ended.
            self.discard()
            return
        self._begin()
        try:
            self.committed = self._raw.finish()
        finally:
            self._turn.release()
            super().close()

    async def close_async(self) -> Committed | None:
        """`close`, for asyncio. Says what was stored; None after `discard`."""
        if not self.closed:
            self._begin()
            try:
                self.committed = await self._raw.finish_async()
            finally:
                self._turn.release()
                super().close()
        return self.committed

    def discard(self) -> None:
        """Closes it, and stores nothing.

        >>> file = client.open("notes/a.txt", "wb")
        >>> file.write(b"hello")
        5
        >>> file.discard()
        >>> client.exists("notes/a.txt")
        False
        """
        if not self.closed:
            super().close()
            self._raw.discard()

    async def discard_async(self) -> None:
        """`discard`, for asyncio."""
        if not self.closed:
            super().close()
            await self._raw.discard_async()

    def tell(self) -> int:
        """Bytes that were written."""
        self._check_open()
        return self._position

    def writable(self) -> bool:
        """True."""
        return True

    def readinto(self, _: "Buffer", /) -> int:
        """Raises io.UnsupportedOperation, as a file that was opened to be written does; so do all other reads."""
        raise io.UnsupportedOperation("not readable")

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.close_async()
        else:
            await self.discard_async()

    def __del__(self) -> None:
        # Not what io does, which is to close it: nobody said that this is the whole file.
        if not self.closed:
            super().close()
            self._raw.abandon()
            warnings.warn(f"{self!r} was never closed: nothing was stored", ResourceWarning, source=self, stacklevel=2)

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def _begin(self, data: "Buffer" = b"") -> None:
        """Takes the turn for a call with `data`, which must be a bytes-like object."""
        self._check_open()
        if not memoryview(data).c_contiguous:
            raise BufferError("the buffer is not contiguous: pass a contiguous copy of it")
        if not self._turn.acquire(blocking=False):
            raise RuntimeError("another call of this writer is under way")


def ends_a_failed_block() -> bool:
    """Whether the caller's caller is a `with` statement whose block has raised, and which leaves a wrapper of C's."""
    try:
        frame = sys._getframe(2)
    except ValueError:
        # Called by no Python code at all.
        return False
    return frame.f_lasti >= 0 and opcode.opname[frame.f_code.co_code[frame.f_lasti]] == "WITH_EXCEPT_START"


def open_file(
    client: "Client", path: str, mode: str, buffering: int, **options: Any
) -> "io.BufferedReader | Reader | Writer":
    """`Client.open`."""
    if mode == "rb":
        reader = client.get(path, **options).reader()
        size = BUFFER if buffering < 0 else buffering
        return io.BufferedReader(reader, size) if size > 0 else reader
    return _writer(client, path, mode, options)


async def open_file_async(client: "Client", path: str, mode: str, **options: Any) -> "Reader | Writer":
    """`Client.open_async`."""
    if mode == "rb":
        return await client.get(path, **options).reader_async()
    return _writer(client, path, mode, options)


def _writer(client: "Client", path: str, mode: str, options: Any) -> Writer:
    if mode == "xb":
        options["mode"] = "create"
    elif mode != "wb":
        raise ValueError(f"mode must be 'rb', 'wb' or 'xb', not {mode!r}; for text, use io.TextIOWrapper over it")
    return Writer(client._writer(path, **options))


async def reader_async(raw: "Awaitable[RawReader]") -> Reader:
    """A reader once it is open. The extension calls this."""
    return Reader(await raw)
