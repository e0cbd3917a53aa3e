"""`stream-worker check`: its options and help."""

from __future__ import annotations

from typing import Any

import click

from stream_worker.usage.options import config_option

EPILOG = """\b
Examples:
  stream-worker check
  stream-worker check --config worker.toml
  stream-worker check --config worker.toml --print > in-force.toml

Ends with the newest records of the topic as they were understood, and a verdict.

\b
Exit codes: 0 all good, 1 something does not answer or is missing, 78 the configuration is wrong.
"""


@click.command("check", epilog=EPILOG)
@config_option
@click.option(
    "--print", "only_print", is_flag=True, help="Print every key in force as TOML, secrets masked, and try nothing."
)
def command(**given: Any) -> Any:
    """Try Kafka, Redis, the checkpoint folder and all else that the configuration names."""
    from stream_worker.commands.check import command as body

    return body(**given)
