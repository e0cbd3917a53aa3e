"""`stream-worker memory`: how it is called."""

from __future__ import annotations

from typing import Any

import click

from stream_worker.usage.options import config_option

EPILOG = """\b
Examples:
  stream-worker memory --config worker.toml
  stream-worker memory alice --config worker.toml

One JSON line a record: {"user","partition","events","ring","next_offset"}; `events` counts the valid events remembered,
`ring` holds item ids, oldest first. A user whose topic gained partitions may have more than one record. One that can't
be read is {"user","partition","unreadable"}, with the reason.

\b
Exit codes: 0 done, 1 nothing is remembered, 78 configuration.
"""


@click.command("memory", epilog=EPILOG)
@click.argument("user", required=False)
@config_option
def command(**given: Any) -> Any:
    """Print what Redis remembers, of all users or of one."""
    from stream_worker.commands.memory import command as body

    return body(**given)
