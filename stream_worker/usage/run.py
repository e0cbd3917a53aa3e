"""`stream-worker run`: how it is called."""

from __future__ import annotations

from typing import Any

import click

from stream_worker.usage.options import config_option

EPILOG = """\b
Examples:
  stream-worker run --config worker.toml
  STREAM_WORKER__KAFKA__BOOTSTRAP_SERVERS=127.0.0.1:9092 stream-worker run
  STREAM_WORKER__WORKER__SLOT=1 STREAM_WORKER__METRICS__PORT=9101 stream-worker run -c worker.toml

The last one is a second worker of the same group: give every worker a slot of its own, and keep it over restarts.
SIGTERM and Ctrl-C end it in good order: the batch is finished and committed, memories and weights are written.
A Kafka or Redis that does not answer is waited for.

\b
Exit codes: 0 stopped, 75 start me again, 76 another process runs this slot, 78 configuration, 1 other failures.
"""


@click.command("run", epilog=EPILOG)
@config_option
def command(**given: Any) -> Any:
    """Read events from Kafka, keep every user's memory, learn, and publish recommendations, exactly once."""
    from stream_worker.commands.run import command as body

    return body(**given)
