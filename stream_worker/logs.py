"""Structured logs on stderr: readable text on a terminal, one JSON object per line elsewhere.

Libraries that log through the standard library (confluent_kafka's clients take such a logger) log in the same form.
Standard output belongs to the commands.
"""

from __future__ import annotations

import io
import json
import logging
import sys
from typing import Any, TextIO, cast

import orjson
import structlog
from structlog.typing import EventDict, ExcInfo, Processor

from stream_worker.core.printable import printable

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
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # below, it logs every font that it finds
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
        return [_shown, structlog.dev.ConsoleRenderer(colors=True, exception_formatter=_traceback)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json)]


def _shown(_: Any, __: str, event: EventDict) -> EventDict:
    """Make all values safe for a terminal, since they hold ids and reasons that come from outside."""
    return {key: printable(value) if isinstance(value, str) else value for key, value in event.items()}


def _traceback(stream: TextIO, exc_info: ExcInfo) -> None:
    """Write a plain, indented traceback.

    Rich's would show local variables, and with them secrets. Indented, no line of it can pass for a line of the log.
    """
    text = io.StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    stream.write("\n".join(f"  {printable(line)}" for line in text.getvalue().splitlines()) + "\n")


def _json(event: Any, default: Any) -> str:
    try:
        return orjson.dumps(event, default=default).decode()
    except TypeError:
        # orjson refuses lone surrogates and integers above 64 bits, which hostile input brings into log lines.
        return json.dumps(event, default=default)
