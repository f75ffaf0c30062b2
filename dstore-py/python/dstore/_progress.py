"""Progress of a transfer on somebody else's bar."""

from collections.abc import Callable
from typing import Protocol

from dstore._values import Progress


class Bar(Protocol):
    """What `tqdm` and its like have."""

    total: float | None

    def update(self, n: float, /) -> object:
        """Goes on by so much."""


def progress_bar(bar: Bar) -> Callable[[Progress], None]:
    """What shows progress on a bar such as tqdm's, which counts bytes: pass it as `progress`.

    >>> from tqdm import tqdm
    >>> with tqdm(unit="B", unit_scale=True, disable=True) as bar:
    ...     committed = client.put("a.bin", bytes(1000), progress=dstore.progress_bar(bar))
    """
    shown = 0

    def show(progress: Progress) -> None:
        nonlocal shown
        if progress.bytes_total is not None:
            bar.total = progress.bytes_total
        # A source that is read a second time begins anew: a bar does not go back.
        if progress.bytes_durable > shown:
            bar.update(progress.bytes_durable - shown)
            shown = progress.bytes_durable

    return show
