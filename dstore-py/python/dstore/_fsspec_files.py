"""Files that `dstore.fsspec` opens: what fsspec expects of a file, over our own readers and writers."""

# fsspec has no types.
# mypy: disable-error-code="import-untyped"

import inspect
import io
import sys
import threading
from contextlib import suppress
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from fsspec.core import get_compression
from fsspec.spec import AbstractBufferedFile

from dstore._files import Reader, Writer, ends_a_failed_block
from dstore._values import Head

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from dstore._dstore import RawWriter
    from dstore.fsspec import DstoreFileSystem


def details(head: Head) -> dict[str, Any]:
    """A file, as fsspec's `info` tells it."""
    return {
        "name": head.path,
        "size": head.size,
        "type": "file",
        "created": head.created,
        "mtime": head.created.timestamp(),
        "version": head.version,
        "content_hash": head.content_hash,
        "file_id": head.file_id,
        "scheme": str(head.scheme),
        "padded": head.padded,
        "tolerates_nodes": head.tolerates_nodes,
        "attributes": head.attributes,
    }


class BufferedFile(io.BufferedReader):
    """A file that is read with our own read-ahead: it grows while reads follow one another, and a seek ends it."""

    def __init__(self, fs: "DstoreFileSystem", reader: Reader, block_size: int) -> None:
        super().__init__(reader, block_size)
        self._reader = reader
        self.fs = fs
        self.path = reader.head.path
        self.size = reader.size
        self.blocksize = block_size
        self.details = details(reader.head)

    def read(self, size: int | None = -1, /) -> bytes:
        """The next `size` bytes, fewer at the end only; all that are left when it is negative or None."""
        if size is not None and 0 <= size < self.blocksize:
            return super().read(size)
        # Buffering would fetch some more than what is asked for, and pass on a copy.
        reader, position = self._reader, self.tell()
        reader.seek(position)
        data = reader.read(size)
        self.seek(position + len(data))
        return data

    @property
    def mode(self) -> str:
        """Always "rb"."""
        return "rb"

    @property
    def full_name(self) -> str:
        """The path with its protocol."""
        return str(self.fs.unstrip_protocol(self.path))

    def info(self) -> dict[str, Any]:
        """The file that is read, even when there is a newer version by now."""
        return self.details

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.fs, self.path, self.blocksize, self.tell())


def _reopen(fs: "DstoreFileSystem", path: str, block_size: int, position: int) -> Any:
    file = fs.open(path, "rb", block_size=block_size)
    file.seek(position)
    return file


class CachedFile(AbstractBufferedFile):  # type: ignore[misc]  # fsspec has no types
    """A file that is read through one of fsspec's caches. All of it is of one version."""

    def __init__(self, fs: "DstoreFileSystem", reader: Reader, block_size: int | str, **options: Any) -> None:
        self._reader = reader
        # Some caches fetch in threads of their own.
        self._lock = threading.Lock()
        self.details = details(reader.head)
        super().__init__(fs, reader.head.path, "rb", block_size, size=reader.size, **options)

    def _fetch_range(self, start: int, end: int) -> bytes:
        with self._lock:
            self._reader.seek(start)
            return self._reader.read(end - start)

    def close(self) -> None:
        """Lets the cache and the reader go."""
        super().close()
        self._reader.close()


class FileWriter(Writer):
    """A file that is stored when it is closed; in a transaction, when that ends; and never after an exception."""

    mode = "wb"

    def __init__(self, fs: "DstoreFileSystem", path: str, raw: "RawWriter", autocommit: bool) -> None:
        super().__init__(raw)
        self.fs = fs
        self.path = path
        self.autocommit = autocommit
        self._pending = True
        self._failing = _failing_blocks()

    def close(self) -> None:
        """Stores the file, unless a transaction does so later, or a `with` block is left with an exception."""
        if self.closed:
            return
        if _failing_blocks() > self._failing or ends_a_failed_block():
            self.discard()
        elif self.autocommit:
            self._pending = False
            super().close()
        else:
            io.RawIOBase.close(self)

    def commit(self) -> None:
        """Stores what was written in a transaction."""
        if self._pending:
            self._pending = False
            self.committed = self._raw.finish()

    def discard(self) -> None:
        """Stores nothing."""
        io.RawIOBase.close(self)
        if self._pending:
            self._pending = False
            self._raw.discard()


def _failing_blocks() -> int:
    """How many `with` blocks are being left with an exception, further up the stack.

    What wraps files, such as fsspec's `OpenFile`, pandas and pyarrow, closes them all the same then, and does not say
    why.
    """
    count = 0
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "__exit__":
            arguments = inspect.getargvalues(frame)
            given = [arguments.locals.get(name) for name in arguments.args]
            given += arguments.locals.get(arguments.varargs, ()) if arguments.varargs else ()
            count += any(isinstance(value, BaseException) for value in given)
        frame = frame.f_back
    return count


class TextWriter(io.TextIOWrapper):
    """Text over a binary file, which is stored only if the `with` block ends well."""

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            discard(self.buffer)
        self.close()

    def __del__(self) -> None:
        if not self.closed:
            discard(self.buffer)


class CompressedWriter(io.RawIOBase):
    """What compresses, and the file that it writes to: closed together, and the file only if the block ends well."""

    def __init__(self, sink: FileWriter, compressor: Any) -> None:
        self._sink = sink
        self._compressor = compressor

    def write(self, data: "Buffer", /) -> int:
        """Compresses `data`; says how many bytes that is."""
        self._compressor.write(data)
        return memoryview(data).nbytes

    def writable(self) -> bool:
        """True."""
        return True

    def close(self) -> None:
        """Ends the compression and stores the file."""
        if self.closed:
            return
        super().close()
        try:
            self._compressor.close()
        except BaseException:
            self._sink.discard()
            raise
        self._sink.close()

    def discard(self) -> None:
        """Stores nothing."""
        super().close()
        self._sink.discard()
        # It would like to write its end.
        with suppress(ValueError):
            self._compressor.close()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close() if kind is None else self.discard()

    def __del__(self) -> None:
        if not self.closed:
            self.discard()


def discard(file: Any) -> None:
    """Ends a file without storing it, when it can."""
    getattr(file, "discard", file.close)()


def compressed(file: Any, path: str, compression: str, mode: str) -> Any:
    """`file` with a layer of compression; `"infer"` goes by the end of `path`."""
    from fsspec.compression import compr

    name = get_compression(path, compression)
    if name is None:
        return file
    layer = compr[name](file, mode=mode[0])
    return CompressedWriter(file, layer) if isinstance(file, FileWriter) else layer


class AsyncFile:
    """What `open_async` gives: as a file, with methods that are awaited."""

    def __init__(self, file: Reader | Writer) -> None:
        self._file = file

    async def read(self, length: int = -1) -> bytes:
        """The next `length` bytes, fewer at the end only; all that are left when it is negative."""
        return await self._reader().read_async(length)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to a position; says which. Nothing is fetched."""
        return self._reader().seek(offset, whence)

    def tell(self) -> int:
        """The position."""
        return self._file.tell()

    async def write(self, data: "Buffer") -> int:
        """Takes all of `data`; says how many bytes that is."""
        if isinstance(self._file, Reader):
            raise io.UnsupportedOperation("write: the file is open for reading")
        return await self._file.write_async(data)

    async def close(self) -> None:
        """Ends it; one that was written is stored."""
        if isinstance(self._file, Reader):
            self._file.close()
        else:
            await self._file.close_async()

    async def discard(self) -> None:
        """Ends it; one that was written is not stored."""
        if isinstance(self._file, Reader):
            self._file.close()
        else:
            await self._file.discard_async()

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._file.closed

    @property
    def size(self) -> int:
        """Bytes of the file that is read."""
        return self._reader().size

    def _reader(self) -> Reader:
        if isinstance(self._file, Reader):
            return self._file
        raise io.UnsupportedOperation("read: the file is open for writing")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await (self.close() if kind is None else self.discard())
