"""`stream-worker check`: its options and help."""

from __future__ import annotations

from typing import Any

import click

from stream_worker.usage.options import config_option

EPILOG = """\b
Examples:
  stream-worker check
  stream-worker check --config worker.toml

\b
Exit codes: 0 all good, 1 something does not answer or is missing, 78 the configuration is wrong.
"""


@click.command("check", epilog=EPILOG)
@config_option
def command(**given: Any) -> Any:
    """Print the configuration in force, secrets masked, and try Kafka, Redis and the checkpoint folder."""
    from stream_worker.commands.check import command as body

    return body(**given)
