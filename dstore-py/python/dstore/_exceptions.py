"""What can go wrong: one class for each code word, which is also the built-in exception that fits."""

import errno
import os
from typing import Any, ClassVar

from dstore._values import Fault


class DstoreError(Exception):
    """A failure of dstore.

    `code` is the stable word for its cause, the same as in the command line's JSON; `retryable` says whether the same
    call can succeed later without a change by the caller. Its causes are notes (`__notes__`). It can be pickled.

    >>> try:
    ...     client.get("missing").bytes()
    ... except FileNotFoundError as error:
    ...     error.code, error.retryable, error.path
    ('not_found', False, 'missing')
    """

    code: str = "internal"
    """The stable word for the cause."""
    retryable: bool = False
    """Whether the same call can succeed later."""
    _errno: ClassVar[int | None] = None

    def __init__(
        self, message: str, /, *, code: str | None = None, retryable: bool | None = None, **details: Any
    ) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        if retryable is not None:
            self.retryable = retryable
        self._details = details
        for name, value in details.items():
            setattr(self, name, value)
        if isinstance(self, OSError):
            _describe(self, details.get("errno") or self._errno, details.get("path"))

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"__notes__": self.__notes__} if hasattr(self, "__notes__") else {}
        return _again, (type(self), self.message, self.code, self.retryable, self._details), state


def _describe(error: OSError, number: int | None, path: str | None) -> None:
    error.errno = number
    error.strerror = os.strerror(number) if number is not None else None
    error.filename = path


def _again(kind: type[DstoreError], message: str, code: str, retryable: bool, details: dict[str, Any]) -> DstoreError:
    return kind(message, code=code, retryable=retryable, **details)


class InvalidPath(DstoreError, ValueError):
    """The path breaks a rule: relative, `/` between parts, at most 1,024 bytes, no empty, `.` or `..` part."""

    code = "invalid_path"
    reason: str
    """Which rule."""


class TooLarge(DstoreError, ValueError):
    """Something is larger than its limit."""

    code = "too_large"
    what: str
    """What was measured, with its unit."""
    size: int
    limit: int


class NotFound(DstoreError, FileNotFoundError):
    """No file has this path."""

    code = "not_found"
    _errno = errno.ENOENT
    path: str | None = None
    """The path; None when it is a file of this machine that is not there."""


class AlreadyExists(DstoreError, FileExistsError):
    """A file is there, where none may be. Of a local one, such as a key file, there is no `path` and no `version`."""

    code = "already_exists"
    _errno = errno.EEXIST
    path: str | None = None
    """The path; None when it is a file of this machine that is there, such as a key."""
    version: int | None = None
    """The version found."""


class VersionConflict(DstoreError, FileExistsError):
    """Another writer was faster, or the version asked for is not the current one."""

    code = "version_conflict"
    _errno = errno.EEXIST
    path: str
    expected: int
    """The version that this write was to replace."""
    actual: int
    """The version found."""


class NotEnoughNodes(DstoreError, ConnectionError):
    """Too few storage nodes can take the file."""

    code = "not_enough_nodes"
    retryable = True
    found: int
    """Nodes that can be used."""
    needed: int
    faults: list[Fault]
    """Nodes that could not take their part."""


class NotEnoughShards(DstoreError, ConnectionError):
    """Holders of shards could not be reached: the file may read again when they are back."""

    code = "not_enough_shards"
    retryable = True
    found: int
    """Shards that answered correctly."""
    needed: int
    faults: list[Fault]
    """Every shard that did not answer correctly."""


class Unrecoverable(DstoreError, OSError):
    """Every holder answered, and too many shards are lost or wrong."""

    code = "unrecoverable"
    _errno = errno.EIO
    found: int
    """Intact shards."""
    needed: int
    faults: list[Fault]
    """Every shard that is lost or wrong."""


class IntegrityError(DstoreError, OSError):
    """Bytes are not what their seal, hash or signature says."""

    code = "integrity"
    _errno = errno.EIO
    what: str
    """What was checked."""


class Superseded(DstoreError, OSError):
    """The version that was read has been replaced, and its shards are gone: read again."""

    code = "superseded"
    retryable = True
    _errno = errno.ESTALE
    path: str


class UnknownOutcome(DstoreError, OSError):
    """The ledger did not say whether a write took effect: look at the file, or do the same write again."""

    code = "unknown_outcome"
    retryable = True
    _errno = errno.EIO
    path: str | None


class Unavailable(DstoreError, ConnectionError):
    """A node, a registry or the ledger could not be reached, or broke the protocol."""

    code = "unavailable"
    retryable = True
    peer: str
    """Who, with its address where known."""
    problem: str


class Timeout(DstoreError, TimeoutError):
    """A node, a registry or the ledger made no progress for the time that is set."""

    code = "timeout"
    retryable = True
    _errno = errno.ETIMEDOUT
    peer: str
    problem: str


class Busy(DstoreError, OSError):
    """A node or registry is at one of its limits: try again later."""

    code = "busy"
    retryable = True
    _errno = errno.EBUSY
    peer: str
    problem: str


class NoSpace(DstoreError, OSError):
    """A node has no room for what was offered, or this machine's disk is full."""

    code = "no_space"
    retryable = True
    _errno = errno.ENOSPC


class PermissionDenied(DstoreError, PermissionError):
    """A node, or this machine, does not allow this."""

    code = "permission_denied"
    _errno = errno.EACCES


class ConfigError(DstoreError, ValueError):
    """A setting, a key or a local file cannot be used. The text says which one."""

    code = "config"


class Locked(DstoreError, BlockingIOError):
    """Another process has what is needed."""

    code = "locked"
    retryable = True
    _errno = errno.EAGAIN
    what: str


class InternalError(DstoreError, RuntimeError):
    """A defect of dstore, or a failure of this machine that has no word of its own."""

    code = "internal"


class ChainError(DstoreError, OSError):
    """The chain behind the ledger cannot be written, or not believed."""

    code = "chain"
    _errno = errno.EIO


class InsufficientFunds(ChainError):
    """The owner's account cannot pay for the write."""

    code = "insufficient_funds"


class FeeTooHigh(ChainError):
    """A write costs more than the settings allow."""

    code = "fee_too_high"


class WrongChain(ChainError):
    """The provider serves another chain than the one that is set."""

    code = "wrong_chain"


class WrongContract(ChainError):
    """No contract is at the address, or another one."""

    code = "wrong_contract"


class ForkedError(DstoreError, RuntimeError):
    """dstore was used before a fork, and is used again in the child. Only Python has this one."""

    code = "forked"


BY_CODE: dict[str, type[DstoreError]] = {
    kind.code: kind
    for kind in (
        InvalidPath,
        TooLarge,
        NotFound,
        AlreadyExists,
        VersionConflict,
        NotEnoughNodes,
        NotEnoughShards,
        Unrecoverable,
        IntegrityError,
        Superseded,
        UnknownOutcome,
        Unavailable,
        Timeout,
        Busy,
        NoSpace,
        PermissionDenied,
        ConfigError,
        Locked,
        InternalError,
        ChainError,
        InsufficientFunds,
        FeeTooHigh,
        WrongChain,
        WrongContract,
        ForkedError,
    )
}


# Tracebacks show them under the name that users know.
for _kind in (DstoreError, *BY_CODE.values()):
    _kind.__module__ = "dstore"


def make(code: str, message: str, retryable: bool, details: dict[str, Any]) -> DstoreError:
    """The exception for a failure: the extension calls this."""
    return BY_CODE.get(code, DstoreError)(message, code=code, retryable=retryable, **details)
