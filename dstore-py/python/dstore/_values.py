"""What the calls of dstore answer. Sizes are bytes, times are aware datetimes in UTC, ids are lower-case hex digits."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from dstore._dstore import RecoveredVersions, Scheme


def _moment(millis: int) -> datetime:
    # Times come from peers too: past the year 9999 there is none.
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=min(millis, 253_402_300_799_000))


@dataclass(frozen=True, slots=True)
class Fault:
    """A shard or node that could not be used."""

    node: str
    address: str
    """`host:port`, as last known."""
    shard: int | None
    """The shard's index, when one shard is meant."""
    problem: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a transfer is."""

    bytes_done: int
    """Bytes of the file that were read from the source (put), or handed out (get)."""
    bytes_durable: int
    """Bytes of the file that are on their nodes' disks, as far as receipts say (put), or handed out (get)."""
    bytes_total: int | None
    """Bytes of the file; None while that is not known."""
    seconds: float
    """Time since the start."""


@dataclass(frozen=True, slots=True)
class TransferWarning:
    """Something that did not stop an operation, but that somebody should know."""

    code: str
    """`block_corrupt`, `shard_missing`, `node_unreachable`, `node_slow`, `node_replaced`, `not_retired` or
    `copies_missing`."""
    node: str
    address: str
    shard: int | None
    message: str


@dataclass(frozen=True, slots=True)
class ShardHome:
    """Where one shard is."""

    index: int
    """Data shards first."""
    node: str
    address: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Head:
    """A file, without its content."""

    path: str
    file_id: str
    version: int
    """1 is the first."""
    size: int
    padded: int
    """Its length with padding."""
    created: datetime
    """When this content was stored."""
    scheme: Scheme
    content_hash: str
    """BLAKE3 of the content, hex."""
    shards: list[ShardHome]
    tolerates_nodes: int
    """How many nodes may vanish, whichever they are."""
    attributes: dict[str, str]


@dataclass(frozen=True, slots=True)
class Committed:
    """A write that is durable on its nodes and on the ledger."""

    head: Head
    """The file as it is now."""
    stored: int
    """Bytes that are stored, parity included."""
    resumed: int
    """Bytes of them that nodes had already from an earlier attempt."""


@dataclass(frozen=True, slots=True)
class ShardCheck:
    """A shard and what its node says of it."""

    home: ShardHome
    state: Literal["ok", "missing", "corrupt", "unreachable"]


@dataclass(frozen=True, slots=True)
class FileCheck:
    """A file, and how its shards are."""

    head: Head
    shards: list[ShardCheck]


@dataclass(frozen=True, slots=True)
class FileVersion:
    """One version of a file, as the ledger remembers it."""

    version: int
    kind: Literal["put", "renamed_here", "removed", "renamed_away"]
    written: datetime
    """When the ledger took it."""
    head: Head | None
    """The file at this version; None when it was gone, and when the ledger no longer gives its record out."""


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A node, as the registries list it."""

    id: str
    address: str
    state: Literal["active", "suspect", "quarantined", "draining"]
    capacity: int
    free: int
    zone: str
    """The operator's label for what fails together; may be empty."""
    last_seen: datetime


@dataclass(frozen=True, slots=True)
class Network:
    """What the registries say of the network."""

    nodes: list[NodeStatus]
    active: int
    """Nodes that take new shards."""
    required: int
    """How many active nodes an upload needs."""
    unreachable: list[tuple[str, str]]
    """Registries that could not be asked, and why."""
    odd: list[tuple[str, str]]
    """Registries that answered, and what is odd about the answer."""


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """What a node says of itself."""

    capacity: int
    used: int
    free: int
    shards: int
    time: datetime
    """Its clock."""
    version: str
    """The version of dstore that it runs."""
    damaged: int
    """Shards that were found damaged."""
    draining: bool
    """Whether it takes no new shards."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What a handshake with a registry showed."""

    seconds: float
    """From name look-up to the end of the handshake."""
    clock: datetime
    """The registry's clock."""
    here: datetime
    """Our clock at about the same time."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a write to a chain would cost."""

    gas: int
    wei: int
    """At the fees of now."""
    max_wei: int
    """The most that the settings would pay."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What a put would store. What depends on the length is None where the source does not tell it."""

    path: str
    version: int
    size: int | None
    padded: int | None
    stored: int | None
    """Bytes at nodes, parity included."""
    shards: int
    nodes: int
    """How many nodes would get some of them."""
    record_len: int
    """Bytes of the record on the ledger."""
    cost: Cost | None
    """None where writing costs nothing."""


@dataclass(frozen=True, slots=True)
class ContractInfo:
    """What a contract and its chain say of themselves."""

    contract: str
    chain_id: int
    code_hash: str
    head: int
    """The newest block."""
    head_time: datetime
    writes: int
    """Writes of this owner."""
    providers: list[tuple[str, int | None, str | None]]
    """The host of each provider, with its newest block or what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """A contract that was deployed."""

    contract: str
    chain_id: int
    code_hash: str
    block: int
    tx: str
    wei: int
    """What it cost."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What `LocalLedger.restore` did."""

    added: int
    """Versions that the ledger did not have."""
    known: int
    """Versions that it had already, or of files of which it has a higher one."""


@dataclass(frozen=True, slots=True)
class RecoveryNode:
    """A node that was asked for copies of records."""

    id: str
    address: str
    copies: int
    """Copies that it gave and that open."""
    strange: int
    """Copies that it gave and that do not open."""
    problem: str | None
    """Why it did not give all that it has."""


@dataclass(frozen=True, slots=True)
class RecoveredFile:
    """A file that was found again."""

    head: Head
    shards: list[ShardCheck]
    may_be_older: bool
    """Whether a later version may be known to a node that did not answer, or to the ledger."""
    is_readable: bool
    """Whether enough shards answer for the file to be read now."""
    is_lost: bool
    """Whether it cannot be read even if every node that does not answer comes back."""


@dataclass(frozen=True, slots=True)
class RecoveredLedger:
    """What the nodes know of the files of one ledger."""

    id: str
    files: list[RecoveredFile]
    versions: RecoveredVersions
    """What `LocalLedger.restore` takes."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What the nodes know of an owner's files."""

    ledgers: list[RecoveredLedger]
    """The one with most files first."""
    nodes: list[RecoveryNode]
    ledger_problem: str | None
    """Why this client's own ledger did not tell all that it knows; None when it did."""
