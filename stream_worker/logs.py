"""Structured logs on stderr: readable where that is a terminal, one JSON object a line elsewhere.

Lines of libraries that log through the standard library (confluent_kafka's clients take such a logger) come out in the
same form. Standard output belongs to the commands.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, TextIO, cast

import orjson
import structlog
from structlog.typing import Processor

_SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
)


def configure(level: str = "info", stream: TextIO | None = None) -> None:
    """Send every log line of the process at or above `level` to `stream` (default: stderr)."""
    stream = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(terminal=stream.isatty()))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # tells of every font that it finds
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    return cast(structlog.stdlib.BoundLogger, structlog.get_logger(name))


def _formatter(terminal: bool) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_SHARED, structlog.stdlib.ExtraAdder()],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(terminal)],
    )


def _renderers(terminal: bool) -> list[Processor]:
    if terminal:
        # Rich tracebacks would show local variables, and with them secrets.
        plain = structlog.dev.plain_traceback
        return [structlog.dev.ConsoleRenderer(colors=True, exception_formatter=plain)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json)]


def _json(event: Any, default: Any) -> str:
    try:
        return orjson.dumps(event, default=default).decode()
    except TypeError:
        # orjson refuses lone surrogates and integers above 64 bits, which hostile input brings into log lines.
        return json.dumps(event, default=default)
