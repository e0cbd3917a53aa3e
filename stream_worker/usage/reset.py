"""`stream-worker reset`: its options and help."""

from __future__ import annotations

from typing import Any

import click

from stream_worker.usage.options import config_option

EPILOG = """\b
Examples:
  stream-worker reset --config worker.toml
  stream-worker reset -c worker.toml --yes

Shows first what would be deleted: the offsets of the consumer group, its memories, item numbers and slots in Redis, and
the checkpoints of this cluster, topic and group, of all slots. Topics stay as they are, and so does everything of other
groups and topics. Nothing is deleted while a worker of the group is alive: stop all of them first.

\b
Exit codes: 0 deleted, or nothing to delete; 1 not deleted (answered no, or something does not answer), 64 no terminal
to ask on, 76 a worker of the group is alive, 78 the configuration is wrong, or the group reads other topics, too.
"""


@click.command("reset", epilog=EPILOG)
@config_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(**given: Any) -> Any:
    """Delete everything that this configuration's workers have kept; the next start begins anew. Asks first."""
    from stream_worker.commands.reset import command as body

    return body(**given)
