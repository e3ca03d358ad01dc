"""Structured logs: one JSON object a line on standard error, for machines, without personal data.

A line holds only the keys of `ALLOWED_KEYS`, whatever the caller passes: a pseudonym, a body or an exception's text
can't slip in under a new key. The exchange's id is bound once (`bind_exchange`) and then is on every line of that task.
What other libraries log through `logging` is reduced to logger, level, template and the exception's type and place.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

ALLOWED_KEYS: Final = frozenset(
    {
        "action",
        "address",
        "age_seconds",
        "attempt",
        "certificate",
        "client",
        "code",
        "count",
        "detail",
        "dropped",
        "duration_ms",
        "entries",
        "error_at",
        "error_type",
        "event",
        "exchange",
        "expires",
        "hint",
        "hop",
        "host",
        "http_status",
        "index",
        "level",
        "logger",
        "method",
        "mode",
        "node",
        "outcome",
        "path",
        "peer",
        "port",
        "reason",
        "role",
        "sequence",
        "server",
        "service",
        "setting",
        "size",
        "step",
        "timestamp",
        "usage",
        "version",
    }
)
_MAX_VALUE: Final = 300


def keep_allowed(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Drops every key that isn't on the list (its name stays, as `dropped`) and clips long values."""
    kept: dict[str, Any] = {}
    dropped: list[str] = []
    for key, value in event.items():
        if key not in ALLOWED_KEYS:
            dropped.append(key)
        elif value is None or isinstance(value, (bool, int, float)):
            kept[key] = value
        else:
            kept[key] = str(value)[:_MAX_VALUE]
    if dropped:
        kept["dropped"] = sorted(dropped)
    return kept


def configure_logging(level: str = "info", stream: TextIO | None = None) -> None:
    """Sets up logging for this process, to `stream` or to wherever standard error is then. Called by the command."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            keep_allowed,
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: _LineLogger(stream),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [_Bridge()]
    # Access lines of web servers hold paths and addresses; ours has its own line per exchange.
    logging.getLogger("aiohttp.access").setLevel(logging.CRITICAL + 1)
    root.setLevel(max(threshold, logging.WARNING))


def get_logger(**initial: str | int) -> FilteringBoundLogger:
    """A logger; `initial` keys are on each of its lines."""
    logger: FilteringBoundLogger = structlog.get_logger(**initial)
    return logger


@contextmanager
def bind_exchange(exchange: str) -> Iterator[None]:
    """Within this block, and in tasks started from it, each line carries the exchange's id."""
    with structlog.contextvars.bound_contextvars(exchange=exchange):
        yield


def describe_error(error: BaseException) -> dict[str, str]:
    """What may be logged of an exception: its type and where it was raised, never its text."""
    fields = {"error_type": f"{type(error).__module__}.{type(error).__qualname__}"}
    traceback = error.__traceback__
    if traceback is not None:
        while traceback.tb_next is not None:
            traceback = traceback.tb_next
        code = traceback.tb_frame.f_code
        fields["error_at"] = f"{Path(code.co_filename).name}:{traceback.tb_lineno} {code.co_name}"
    return fields


class _LineLogger:
    """Writes each line and flushes it.

    An output that is gone (a closed terminal, a broken pipe) fails nobody: an exchange must not end because its line in
    the operator's log has nowhere to go. What must be durable is in the message log and the access log.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def msg(self, message: str) -> None:
        output = sys.stderr if self._stream is None else self._stream
        # ValueError is what a closed file raises.
        with suppress(OSError, ValueError):
            output.write(message + "\n")
            output.flush()

    debug = info = warning = error = critical = msg


class _Bridge(logging.Handler):
    """Passes on what libraries log: the template without its arguments, which may be personal data."""

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, str] = {"logger": record.name}
        if record.exc_info and record.exc_info[1] is not None:
            fields |= describe_error(record.exc_info[1])
        template = record.msg if isinstance(record.msg, str) and record.args else "library message"
        structlog.get_logger().log(record.levelno, template, **fields)
