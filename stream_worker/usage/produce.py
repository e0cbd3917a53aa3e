"""`stream-worker produce`: its options and help."""

from __future__ import annotations

from typing import Any

import click

from stream_worker.usage.options import EXISTING, config_option, mapping_option

EPILOG = """\b
Examples:
  stream-worker produce clicks.csv --mapping examples/canonical.toml
  stream-worker produce clicks.csv -m examples/canonical.toml --speed 60 --limit 10000
  stream-worker produce clicks.csv -m examples/canonical.toml --create --partitions 8 --config worker.toml

Records are keyed by user, have the event's own time as their timestamp, and name their fields as [events] of the
configuration does. Rows that are no events are sent as they are; the worker makes dead letters of them.
"""


@click.command("produce", epilog=EPILOG)
@click.argument("log", nargs=-1, required=True, type=EXISTING)
@mapping_option
@config_option
@click.option("--topic", help="Topic to send to, instead of kafka.input_topic.")
@click.option(
    "--speed", default="max", show_default=True, help="max, or how many times faster than the log's own time."
)
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N rows.")
@click.option("--create", is_flag=True, help="Create those of the worker's topics first that are missing.")
@click.option("--keep-all", is_flag=True, help="Set an existing topic that would delete the log to keep all records.")
@click.option(
    "--partitions", type=click.IntRange(min=1), default=8, show_default=True, help="Partitions of a created topic."
)
def command(**given: Any) -> Any:
    """Send recorded LOG files to the input topic."""
    from stream_worker.commands.produce import command as body

    return body(**given)
