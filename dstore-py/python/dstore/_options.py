"""The keywords that calls take."""

from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from typing import Literal, TypedDict

from dstore._dstore import Scheme
from dstore._values import Progress, TransferWarning


class WriteOptions(TypedDict, total=False):
    """How a file is stored that is written to: the keywords of `Client.open` with a mode for writing."""

    if_version: int | None
    """The version to replace, and no other. Default: whatever is there."""
    scheme: Scheme | str | None
    """Data and parity shards, such as "4+2". Default: the client's."""
    padding: Literal["padme", "none"] | None
    """How the length is hidden. Default: the client's."""
    attributes: Mapping[str, str] | None
    """Names and values of your own: at most 64, 2 KiB together. They are sealed like the rest."""
    progress: Callable[[Progress], object] | None
    """Called now and then with how far the put is, and at its end. What it raises ends the put."""
    on_warning: Callable[[TransferWarning], object] | None
    """Called with what did not stop the put but should be known. What it raises ends the put."""


class PutOptions(WriteOptions, total=False):
    """How a file is stored: the keywords of `Client.put` and `Client.upload`."""

    mode: Literal["overwrite", "create", "update"] | None
    """What may be replaced: whatever is there (the default), nothing, or the version `if_version`."""


class ReadOptions(TypedDict, total=False):
    """What is read, and who is told: the keywords of `Client.get` and of `Client.open` for reading."""

    start: int
    """The first byte. Default 0."""
    length: int | None
    """How many bytes, at most. Default: to the end of the file."""
    end: int | None
    """Where to end, in place of `length`: the first byte that is not read."""
    progress: Callable[[Progress], object] | None
    """Called now and then with how far the get is, and at its end. What it raises ends the get."""
    on_warning: Callable[[TransferWarning], object] | None
    """Called with what did not stop the get but should be known. What it raises ends the get."""


class ClientSettings(TypedDict, total=False):
    """How a client works."""

    scheme: Scheme | str | None
    """Data and parity shards of new files. Default "4+2": costs 1.5 times the bytes."""
    tolerate: int | None
    """How many nodes, whichever, may vanish without loss of a new file. Default 1."""
    padding: Literal["padme", "none"] | None
    """How the length of new files is hidden. Default "padme": at most 12 % more bytes."""
    network: str | None
    """The label of the network. Default "dstore"."""
    timeout: float | None
    """Seconds for which a step may make no progress before it fails. Default 30."""
    memory: int | None
    """Bytes of memory for the buffers of one transfer. Default 48 MiB, at least 16 MiB."""
    hedge_after: float | None
    """Seconds that a get waits for a silent node, at most, before it asks another one. Default 1."""
    journal: str | PathLike[str] | None
    """A folder where unfinished work is noted, so that it is gone on with or cleared away. Default: nowhere."""
    resume: bool | None
    """Whether a put goes on where an earlier one of the same bytes to its path ended. Default: yes, with a journal."""
    pin: str | Iterable[str] | None
    """Ids of the nodes that alone take new shards. Default: all that the registries list."""
    invite: str | Iterable[str] | None
    """Invites of nodes that do not know this client yet."""


class EnvSettings(TypedDict, total=False):
    """Settings of `Client.from_env`: those of the command line by the same names, before what the environment says."""

    registry: str | Iterable[str] | None
    """The registries to find nodes through."""
    ledger: Literal["local", "memory", "ethereum"] | None
    """Where records are kept. Default "local": a file in the client's folder."""
    chain: str | None
    """The chain of the ledger "ethereum": "sepolia" (the default), "local", or a chain id."""
    contract: str | None
    """The contract there: `0x` and 40 hex digits."""
    max_fee: str | float | None
    """The most that a unit of gas may cost, gwei."""
    confirmations: int | None
    """Blocks after which a write counts as confirmed."""
    batch_wait: str | float | None
    """Seconds that a put waits for others, to share a transaction; or a text such as "500ms"."""
    network: str | None
    """The label of the network. Default "dstore"."""
    timeout: str | float | None
    """Seconds for which a step may make no progress before it fails; or a text such as "2m". Default 30."""
    scheme: Scheme | str | None
    """Data and parity shards of new files. Default "4+2"."""
    padding: Literal["padme", "none"] | None
    """How the length of new files is hidden. Default "padme"."""
    no_resume: bool | None
    """Whether puts start over, instead of going on where an earlier one ended. Default: no."""
    memory: str | int | None
    """Bytes of memory for the buffers of one transfer; or a text such as "64MiB". Default 48 MiB."""
    hedge_after: str | float | None
    """Seconds that a get waits for a silent node, at most; or a text such as "500ms". Default 1."""
    pin: str | Iterable[str] | None
    """Ids of the nodes that alone take new shards. Default: all that the registries list."""
    invite: str | Iterable[str] | None
    """Invites of nodes that do not know this client yet."""


class RegistrySettings(TypedDict, total=False):
    """How a registry works."""

    dir: str | PathLike[str] | None
    """The folder of its state. Default: none; then it has a new identity at each start."""
    listen: str | None
    """`host:port`; port 0 chooses a free one. Default "127.0.0.1:0"."""
    public: str | None
    """The `host:port` that others reach it at. Default: where it listens."""
    network: str | None
    """The label of its network. Default "dstore"."""
    heartbeat: float | None
    """Seconds between two signs of life of a node. Default 10."""
    min_nodes: int | None
    """Active nodes below which uploads are offered none. Default 3."""
    max_nodes: int | None
    """The most nodes that are listed. Default 2048."""
    private_nodes: bool | None
    """Whether nodes at private addresses are listed although it listens at a public one."""
    admin: str | None
    """`host:port` of /metrics, /healthz and /readyz. Default: none."""
    admin_public: bool | None
    """Whether that may be an address that other machines can reach."""


class NodeSettings(TypedDict, total=False):
    """How a storage node works."""

    dir: str | PathLike[str] | None
    """The folder of everything that it keeps. Needed."""
    listen: str | None
    """`host:port`; port 0 chooses a free one. Default "127.0.0.1:0"."""
    public: str | None
    """The `host:port` that others reach it at. Default: where it listens."""
    registry: str | Iterable[str] | None
    """The registries to be listed at."""
    network: str | None
    """The label of its network. Default "dstore"."""
    zone: str | None
    """A label for what fails together, at most 64 bytes. Default: none."""
    capacity: int | None
    """Bytes of shards that it takes. Default 10 GiB."""
    free_floor: int | None
    """Bytes of the disk that it leaves free. Default 1 GiB."""
    inline_max: int | None
    """Bytes up to which a shard lives in the database, and not in a file. Default 48 KiB."""
    retire_for: float | None
    """Seconds for which a deleted shard still serves readers. Default 24 h."""
    grace: float | None
    """Seconds for which a shard is kept after its lease. Default 7 days."""
    admission: Literal["private", "open", "invited"] | None
    """Who may store: clients at private addresses (the default), everybody, or those allowed and invited alone."""
    allow: str | Iterable[str] | None
    """Transport keys of clients that may store, wherever they are: `Client.transport_key` tells them."""
    admin: str | None
    """`host:port` of /metrics, /healthz and /readyz. Default: none."""
    admin_public: bool | None
    """Whether that may be an address that other machines can reach."""
    registration_timeout: float | None
    """Seconds that `start` waits for a registry to list it. Default 30."""


class ChainOptions(TypedDict, total=False):
    """How a chain is reached, and what a write may cost."""

    rpc_url: str | Iterable[str] | None
    """Addresses of providers, at most 8; each is a spare of the others. They often carry a key: none is ever shown."""
    max_fee: str | float | None
    """The most that a unit of gas may cost, gwei. Default 100."""
    confirmations: int | None
    """Blocks after which a write counts as confirmed. Default: the chain's, 2 on a public one."""
    batch_wait: float | None
    """Seconds that a put waits for others that are on their way, to share a transaction. Default 1."""
    timeout: float | None
    """Seconds for one request to a provider. Default 10."""
    inclusion_timeout: float | None
    """Seconds that a transaction is waited for. Default 600."""
    lock_folder: str | PathLike[str] | None
    """A folder where processes that write with one key take turns. Default: none."""
