"""Where what the extension tells goes to `logging`: under `dstore.*`.

The level of the logger `dstore` when an operation starts decides what is told at all.
"""

import logging


def emit(target: str, level: int, text: str, time: float) -> None:
    """Logs one event, of the moment `time` in seconds since the epoch. The extension calls this."""
    logger = logging.getLogger(target)
    if logger.isEnabledFor(level):
        record = logger.makeRecord(target, level, "(rust)", 0, text, (), None)
        record.created = time
        record.msecs = int(time % 1 * 1000)
        logger.handle(record)
