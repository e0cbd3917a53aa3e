"""`stream-worker memory`: its options and help."""

from __future__ import annotations

from typing import Any

import click

from stream_worker.usage.options import config_option

EPILOG = """\b
Examples:
  stream-worker memory --config worker.toml
  stream-worker memory alice --config worker.toml

Prints one line of JSON per record: {"user","partition","events","ring","next_offset"}; `events` counts the remembered
events, `ring` holds item ids, oldest first. A user may have more than one record if the topic has gained partitions. A
record that can't be read is printed as {"user","partition","unreadable"}, with the reason.

\b
Exit codes: 0 done, 1 there is no record, 78 configuration.
"""


@click.command("memory", epilog=EPILOG)
@click.argument("user", required=False)
@config_option
def command(**given: Any) -> Any:
    """Print the memory records in Redis, of all users or of USER."""
    from stream_worker.commands.memory import command as body

    return body(**given)
