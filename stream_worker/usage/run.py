"""`stream-worker run`: its options and help."""

from __future__ import annotations

from typing import Any

import click

from stream_worker.usage.options import FOLDER, config_option

EPILOG = """\b
Examples:
  stream-worker run --config worker.toml
  STREAM_WORKER__KAFKA__BOOTSTRAP_SERVERS=127.0.0.1:9092 stream-worker run
  stream-worker run --config worker.toml --from learned
  STREAM_WORKER__WORKER__SLOT=1 STREAM_WORKER__METRICS__PORT=9101 stream-worker run -c worker.toml

The last one is a second worker of the same group: give every worker a slot of its own, and keep it over restarts, or
let each take a free one (worker.slot = "auto").
A slot goes on from its own checkpoint. Without one it begins with the newest in --from, else with the newest of another
slot of the same cluster, topic and group. Once it has its own checkpoint, --from is ignored.
SIGTERM and Ctrl-C end it in good order: the batch is finished and committed, memories and weights are written.
The worker waits for a Kafka or Redis that does not answer.

\b
Exit codes: 0 stopped, 75 start me again, 76 another process runs this slot, 78 configuration, 1 other failures.
"""


@click.command("run", epilog=EPILOG)
@config_option
@click.option(
    "--from",
    "from_path",
    type=FOLDER,
    help="Folder of checkpoints to begin from: those of another source, or of a replay.",
)
def command(**given: Any) -> Any:
    """Read events from Kafka, keep every user's memory, learn, and publish recommendations, exactly once."""
    from stream_worker.commands.run import command as body

    return body(**given)
