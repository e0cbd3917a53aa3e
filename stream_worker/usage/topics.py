"""`stream-worker topics`: its options and help."""

from __future__ import annotations

from typing import Any

import click

from stream_worker.usage.options import config_option

EPILOG = """\b
Examples:
  stream-worker topics create --config worker.toml
  stream-worker topics create -c worker.toml --partitions 16

Topics that are there stay as they are. A new input topic keeps all records, a new topic of lists everything for a week
and then the newest list of each user, a new items topic the newest record of each item (kafka.items_topic, if it is
set), a new decisions topic all of them in one partition, and a new weights topic a minute; the broker's own settings
hold for everything else.

\b
Exit codes: 0 all topics are there now, 1 something does not answer or refuses, 78 the configuration is wrong.
"""


@click.command("topics", epilog=EPILOG)
@click.argument("action", type=click.Choice(["create"]))
@config_option
@click.option(
    "--partitions", type=click.IntRange(min=1), default=8, show_default=True, help="Partitions of a created topic."
)
def command(**given: Any) -> Any:
    """Create those topics of the configuration that are missing, and say which were made and which were there."""
    from stream_worker.commands.topics import command as body

    return body(**given)
