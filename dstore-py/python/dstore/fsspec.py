"""dstore as a file system of fsspec, `dstore://`: for pandas, dask, pyarrow and whatever else opens files by URL.

>>> from dstore.fsspec import DstoreFileSystem
>>> fs = DstoreFileSystem(client=client)
>>> fs.pipe_file("notes/a.txt", b"hello")
>>> fs.ls("notes", detail=False)
['notes/a.txt']
>>> with fs.open("notes/a.txt") as file:
...     file.read()
b'hello'

It is fsspec's `AsyncFileSystem`, since that moves many files at once (`cat`, `put`, `get`, `copy`, `rm`) and serves
both asyncio and callers who wait. An opened file is our reader or writer itself, without an event loop. Our reader
reads ahead by itself, and fsspec's caches do more harm than good: through "readahead", lines were 25 times as slow,
reads here and there 60 times, and one column of a parquet file 8 times. They are used where `cache_type` asks for one.

Paths are flat names with `/` in them. A directory is what has files below it: there are no empty ones.
"""

# fsspec has no types.
# mypy: disable-error-code="import-untyped"

import asyncio
import errno
import io
import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, cast

from fsspec.asyn import AsyncFileSystem, _run_coros_in_chunks
from fsspec.callbacks import DEFAULT_CALLBACK, Callback
from fsspec.utils import is_exception, isfilelike

from dstore._dstore import Client
from dstore._exceptions import AlreadyExists, ForkedError, NotFound
from dstore._files import BUFFER, Reader
from dstore._fsspec_files import AsyncFile, BufferedFile, CachedFile, FileWriter, TextWriter, compressed, details
from dstore._fsspec_instances import Instances, close_at_exit, with_sync_methods
from dstore._values import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    Tree = dict[str, list[dict[str, Any]]]
    Mode = Literal["overwrite", "create", "update"]

#: Files that are moved at once, unless told otherwise. Each transfer may take memory for itself.
AT_ONCE = 8
#: Bytes of ranges that are asked for together, at most.
TOGETHER = 8 << 20
#: How many ranges are asked for together, at most.
MOST = 10_000
#: Options of fsspec's own. Listings are never cached: others write too.
IGNORED = {"use_listings_cache", "listings_expiry_time", "max_paths"}
#: Names under which a secret might be given.
SECRETS = {
    *("owner", "owner_key", "key", "private_key", "eth_private_key", "secret", "token", "password"),
    *("keystore_password", "eth_keystore_password", "rpc_url", "eth_rpc_url", "alchemy_key", "alchemy_api_key", "env"),
}


@with_sync_methods
class DstoreFileSystem(AsyncFileSystem, metaclass=Instances):  # type: ignore[misc]  # fsspec has no types
    """Files of a dstore network.

    Its options are `dir` (the folder of the client), `env_file`, and settings that have flags, such as
    `registry="host:port"` or `scheme="4+2"`: what `dstore.Client.from_env` takes; the rest comes from the environment,
    `.env` and the config file, as for `dstore-cli`. No secret is an option. Or give `client`, one that is open.

    Raises what `Client.from_env` raises, and TypeError for an option that is none, or a secret.
    """

    protocol = "dstore"
    root_marker = ""
    blocksize = BUFFER
    _extra_tokenize_attributes = ("surroundings",)

    def __init__(
        self,
        dir: str | os.PathLike[str] | None = None,
        *,
        env_file: str | os.PathLike[str] | None = None,
        client: Client | None = None,
        asynchronous: bool = False,
        loop: asyncio.AbstractEventLoop | None = None,
        batch_size: int | None = None,
        **settings: Any,
    ) -> None:
        own = {name: settings.pop(name) for name in IGNORED & settings.keys()}
        super().__init__(asynchronous=asynchronous, loop=loop, batch_size=batch_size or AT_ONCE, **own)
        for name in settings:
            if name.lower() in SECRETS:
                raise TypeError(
                    f"{name} is no storage option: these are kept, shown and sent around. A secret belongs into the "
                    "environment, .env, or a key file that one of them names (ETH_PRIVATE_KEY_FILE, ETH_KEYSTORE)"
                )
        if client is not None and (dir is not None or env_file is not None or settings):
            raise TypeError("a client has its settings: give client alone")
        self._is_lent = client is not None
        self._client = client
        self._settings = {"dir": dir, "env_file": env_file, **settings}
        self._client = self.client

    @property
    def client(self) -> Client:
        """The client that does the work. When it was closed and is not yours, a new one takes its place."""
        if self._client is None or (not self._is_lent and self._client.is_closed):
            self._client = Client.from_env(**self._settings)
            close_at_exit(self._client)
        return self._client

    def close(self) -> None:
        """Waits for what goes on after writes, and closes the client, unless it is yours. It may be used again."""
        if not self._is_lent and self._client is not None:
            self._client.close()

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that does the work for callers who wait."""
        if self._pid != os.getpid():
            raise ForkedError(
                "this file system was made in the parent process before this one was forked: start processes with "
                'multiprocessing\'s "spawn" or "forkserver", or make it in the child alone'
            )
        return cast("asyncio.AbstractEventLoop | None", self._loop)

    def __reduce__(self) -> Any:
        self._check_portable()
        return super().__reduce__()

    def to_dict(self, *, include_password: bool = True) -> dict[str, Any]:
        """The serialised form of fsspec: the options, none of which is a secret."""
        self._check_portable()
        return cast("dict[str, Any]", super().to_dict(include_password=include_password))

    def _check_portable(self) -> None:
        if self._is_lent:
            raise TypeError(
                "a file system over a client= cannot be pickled or serialised, as a client cannot: "
                "make one from the environment, with dir= or none at all"
            )

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        path = super()._strip_protocol(path)
        return path if isinstance(path, list) else path.lstrip("/")

    # What is there

    async def _info(self, path: str, **_: Any) -> dict[str, Any]:
        """What `Head` says of a file: among others its size, version, content_hash and attributes."""
        path = self._strip_protocol(path)
        if not path:
            return _directory(path)
        try:
            return details(await self.client.head_async(path))
        except NotFound:
            async for _head in self.client.list(f"{path}/"):
                return _directory(path)
            raise

    async def _ls(self, path: str, detail: bool = True, tree: "Tree | None" = None, **_: Any) -> list[Any]:
        path = self._strip_protocol(path)
        if tree is None:
            tree = await self._tree(path)
        infos = tree.get(path)
        if infos is None:
            infos = [await self._info(path)] if path else []
        return infos if detail else [info["name"] for info in infos]

    async def _tree(self, path: str, prefix: str = "") -> "Tree":
        """All directories below `path`, and what is in each, by one listing: a listing goes through all files."""
        tree: Tree = {}
        async for head in self.client.list((f"{path}/" if path else "") + prefix):
            info = details(head)
            while True:
                parent = info["name"].rpartition("/")[0]
                is_known = parent in tree
                tree.setdefault(parent, []).append(info)
                if is_known or parent == path:
                    break
                info = _directory(parent)
        for infos in tree.values():
            infos.sort(key=lambda info: info["name"])
        return tree

    async def _walk(self, path: str, maxdepth: int | None = None, **options: Any) -> AsyncIterator[Any]:
        path, prefix = self._strip_protocol(path), options.pop("prefix", "")
        if options.get("tree") is None:
            options["tree"] = await self._tree(path, prefix)
        async for step in super()._walk(path, maxdepth, **options):
            yield step

    async def _du(
        self, path: str, total: bool = True, maxdepth: int | None = None, withdirs: bool = False, **options: Any
    ) -> Any:
        infos = await self._find(path, maxdepth=maxdepth, withdirs=withdirs, detail=True, **options)
        sizes = {name: info["size"] for name, info in infos.items()}
        return sum(sizes.values()) if total else sizes

    async def _isfile(self, path: str) -> bool:
        path = self._strip_protocol(path)
        return bool(path) and await self.client.exists_async(path)

    async def _isdir(self, path: str) -> bool:
        try:
            return cast("bool", (await self._info(path))["type"] == "directory")
        except FileNotFoundError:
            return False

    async def _created(self, path: str) -> Any:
        """When the content at `path` was stored: aware, in UTC. A file that is replaced is created anew."""
        return (await self.client.head_async(self._strip_protocol(path))).created

    async def _modified(self, path: str) -> Any:
        """The same as `created`: a content never changes."""
        return await self._created(path)

    async def _ukey(self, path: str) -> str:
        """The BLAKE3 of the content, hex."""
        return (await self.client.head_async(self._strip_protocol(path))).content_hash

    async def _checksum(self, path: str) -> int:
        """The BLAKE3 of the content as a number."""
        return int(await self._ukey(path), 16)

    # Reading

    async def _cat(self, path: Any, recursive: bool = False, **options: Any) -> Any:
        if recursive:
            path = [name for root in await self._expand_path(path) for name in await self._find(root)]
        return await super()._cat(path, **options)

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        path = self._strip_protocol(path)
        first = start or 0
        if first < 0 or (end is not None and end < 0):
            reader: Reader = await self.client.get(path, **options).reader_async()
            with reader:
                first, stop, _ = slice(start, end).indices(reader.size)
                reader.seek(first)
                return await reader.read_async(max(stop - first, 0))
        last = None if end is None else max(first, end)
        return await self.client.get(path, start=first, end=last, **options).bytes_async()

    async def _cat_ranges(
        self,
        paths: list[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        batch_size: int | None = None,
        on_error: str = "return",
        **options: Any,
    ) -> list[Any]:
        # What lies near together is fetched together: no use for max_gap.
        starts = list(starts) if isinstance(starts, Iterable) else [starts] * len(paths)
        ends = list(ends) if isinstance(ends, Iterable) else [ends] * len(paths)
        if not len(paths) == len(starts) == len(ends):
            raise ValueError("paths, starts and ends must be of one length")
        requests = [
            (self._strip_protocol(path), start or 0, end) for path, start, end in zip(paths, starts, ends, strict=True)
        ]
        groups = _groups(requests)
        jobs = [self._cat_group([requests[index] for index in group], options) for group in groups]
        results = await self._gather(jobs, batch_size, return_exceptions=True)
        out: list[Any] = [b""] * len(paths)
        for group, result in zip(groups, results, strict=True):
            for position, index in enumerate(group):
                out[index] = result if is_exception(result) else result[position]
        if on_error != "return":
            for failed in filter(is_exception, out):
                raise failed
        return out

    async def _cat_group(self, requests: list[tuple[str, int, int | None]], options: dict[str, Any]) -> list[bytes]:
        if len(requests) == 1:
            return [await self._cat_file(*requests[0], **options)]
        path = requests[0][0]
        ranges = [(start, max(start, end or 0)) for _, start, end in requests]
        return await self.client.get(path, **options).ranges_async(ranges)

    async def _get_file(self, rpath: str, lpath: Any, callback: Callback = DEFAULT_CALLBACK, **options: Any) -> None:
        rpath = self._strip_protocol(rpath)
        get = self.client.get(rpath, progress=_progress(callback, "bytes_done"), **options)
        try:
            if isfilelike(lpath):
                async for piece in get:
                    lpath.write(piece)
            else:
                await get.save_async(lpath)
        except NotFound:
            if not await self._isdir(rpath):
                raise
            Path(lpath).mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  # at once

    # Writing

    async def _pipe_file(self, path: str, value: Any, mode: "Mode" = "overwrite", **options: Any) -> None:
        await self.client.put_async(self._strip_protocol(path), value, mode=mode, **options)

    async def _put_file(
        self,
        lpath: Any,
        rpath: str,
        mode: "Mode" = "overwrite",
        callback: Callback = DEFAULT_CALLBACK,
        **options: Any,
    ) -> None:
        if Path(lpath).is_dir():  # noqa: ASYNC240  # at once
            return
        progress = _progress(callback, "bytes_durable")
        await self.client.upload_async(lpath, self._strip_protocol(rpath), mode=mode, progress=progress, **options)

    async def _cp_file(self, path1: str, path2: str, rename: bool = False, **options: Any) -> None:
        path1, path2 = self._strip_protocol(path1), self._strip_protocol(path2)
        try:
            if rename:
                await self._mv_file(path1, path2)
            else:
                await self.client.copy_async(path1, path2, **options)
        except NotFound:
            # A directory goes with its files, which may be there already.
            if not await self._isdir(path1) and not (rename and await self._isdir(path2)):
                raise

    async def _mv_file(self, path1: str, path2: str) -> None:
        """Moves a file. No byte moves, unless there is a file at `path2`: that is replaced, and never missing."""
        path1, path2 = self._strip_protocol(path1), self._strip_protocol(path2)
        if path1 == path2:
            return
        try:
            await self.client.rename_async(path1, path2)
        except AlreadyExists:
            await self.client.copy_async(path1, path2)
            await self.client.remove_async(path1)

    async def _mv(
        self, path1: Any, path2: Any, recursive: bool = False, maxdepth: int | None = None, **options: Any
    ) -> None:
        """Moves files. Records move, and no bytes, except where a file is replaced."""
        if path1 == path2:
            return
        if isinstance(path1, str) and not recursive and await self._isdir(path1):
            _raise(errno.EISDIR, path1)
        await self._copy(path1, path2, recursive=recursive, maxdepth=maxdepth, on_error="raise", rename=True, **options)

    async def _rm_file(self, path: str, **_: Any) -> None:
        path = self._strip_protocol(path)
        try:
            await self.client.remove_async(path)
        except NotFound:
            if await self._isdir(path):
                _raise(errno.EISDIR, path)
            raise

    async def _rm(
        self,
        path: Any,
        recursive: bool = False,
        batch_size: int | None = None,
        maxdepth: int | None = None,
        **_: Any,
    ) -> None:
        paths = await self._expand_path(path, recursive=recursive, maxdepth=maxdepth)
        jobs = [self._rm_file(name) for name in paths if name]
        results = await self._gather(jobs, batch_size, return_exceptions=True)
        for failed in filter(is_exception, results):
            # A directory is gone with its files.
            if not (recursive and isinstance(failed, (FileNotFoundError, IsADirectoryError))):
                raise failed

    async def _rmdir(self, path: str) -> None:
        """Does nothing: an empty directory is none."""
        async for _head in self.client.list(f"{self._strip_protocol(path)}/"):
            _raise(errno.ENOTEMPTY, path)

    async def _gather(self, jobs: list[Any], batch_size: int | None, **options: Any) -> list[Any]:
        results = await _run_coros_in_chunks(jobs, batch_size=batch_size or self.batch_size, nofiles=True, **options)
        return cast("list[Any]", results)

    # Opened files

    def open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        cache_options: dict[str, Any] | None = None,
        compression: str | None = None,
        **options: Any,
    ) -> Any:
        """Opens a file to read (`"rb"`), to store (`"wb"`) or to store where none is (`"xb"`); or as text.

        What is written is stored when the file is closed, and not at all if the `with` block ends with an exception.
        Reads are ahead of the caller by themselves; `cache_type`, `cache_options` and `block_size` choose one of
        fsspec's caches instead. Options of `Client.put` and `Client.get`, such as `attributes`, can be given too.

        Raises NotImplementedError for other modes: nothing is ever appended to a file, or changed in it.
        """
        if "b" in mode:
            file = super().open(path, mode, block_size=block_size, cache_options=cache_options, **options)
            return file if compression is None else compressed(file, path, compression, mode)
        text = {name: options.pop(name) for name in ("encoding", "errors", "newline") if name in options}
        binary = self.open(path, mode.replace("t", "") + "b", block_size, cache_options, compression, **options)
        return (io.TextIOWrapper if "r" in mode else TextWriter)(binary, **text)

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | str | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        cache_type: str | None = None,
        size: int | None = None,
        **options: Any,
    ) -> Any:
        block = block_size if isinstance(block_size, int) else None
        if mode == "rb":
            reader = self.client.get(path, **options).reader()
            if cache_type is None and cache_options is None:
                return BufferedFile(self, reader, block or BUFFER)
            caching = {"cache_type": cache_type or "readahead", "cache_options": cache_options}
            return CachedFile(self, reader, block or "default", **caching)
        if _checked(mode) == "xb":
            if self.client.exists(path):
                _raise(errno.EEXIST, path)
            options["mode"] = "create"
        return FileWriter(self, path, self.client._writer(path, **options), autocommit)

    async def open_async(self, path: str, mode: str = "rb", **options: Any) -> AsyncFile:
        """`open` for asyncio, without caches, text and compression: the methods of what it gives are awaited."""
        for name in ("block_size", "cache_type", "cache_options", "size"):
            options.pop(name, None)
        if "b" not in mode or options.pop("compression", None):
            raise ValueError("open_async opens binary files, without compression")
        path = self._strip_protocol(path)
        if mode == "rb":
            return AsyncFile(await self.client.open_async(path, "rb", **options))
        if _checked(mode) == "xb" and await self.client.exists_async(path):
            _raise(errno.EEXIST, path)
        return AsyncFile(await self.client.open_async(path, _checked(mode), **options))


def _directory(path: str) -> dict[str, Any]:
    return {"name": path, "size": 0, "type": "directory"}


def _raise(number: int, path: str) -> NoReturn:
    raise OSError(number, os.strerror(number), path)


def _checked(mode: str) -> 'Literal["wb", "xb"]':
    if mode == "wb":
        return "wb"
    if mode == "xb":
        return "xb"
    raise NotImplementedError(
        f"mode {mode!r}: files are stored whole. Open with 'r' to read, with 'w' to store, and with 'x' to store where "
        "no file is; nothing is appended to a file, or changed in it"
    )


def _progress(callback: Callback, count: str) -> "Callable[[Progress], None] | None":
    """What tells a callback of fsspec how far a transfer is."""
    if callback is DEFAULT_CALLBACK:
        return None

    def tell(progress: Progress) -> None:
        if progress.bytes_total is not None and progress.bytes_total != callback.size:
            callback.set_size(progress.bytes_total)
        callback.absolute_update(getattr(progress, count))

    return tell


def _groups(requests: list[tuple[str, int, int | None]]) -> list[list[int]]:
    """Which ranges to ask for together: those of one file, as far as their bytes are known, and not too many."""
    groups: list[list[int]] = []
    last: dict[str, tuple[list[int], int]] = {}
    for index, (path, start, end) in enumerate(requests):
        length = TOGETHER + 1 if end is None or start < 0 or end < 0 else max(end - start, 0)
        group, size = last.get(path, ([], TOGETHER))
        if length > TOGETHER:
            groups.append([index])
            continue
        if size + length > TOGETHER or not group or len(group) >= MOST:
            group, size = [], 0
            groups.append(group)
        group.append(index)
        last[path] = (group, size + length)
    return groups
