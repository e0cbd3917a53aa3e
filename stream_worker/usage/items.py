"""`stream-worker items`: its options and help."""

from __future__ import annotations

from typing import Any

import click

from stream_worker.usage.options import config_option

EPILOG = """\b
Examples:
  stream-worker items block p7 --reason "recalled by its maker" --config worker.toml
  stream-worker items hold p8 p9 --reason "pictures are missing" -c worker.toml
  stream-worker items approve - --reason "as it was before reviews" -c worker.toml < ids.txt
  stream-worker items show p7 -c worker.toml

Writes decisions into kafka.decisions_topic, which keeps all of them. The last one on an item is in force, whatever the
items topic says of it before or later: block and hold keep it out of all lists, from the first that is made after the
decision was read. approve ends both, and lifts the hold that an item's own record asks for; an item that is not
available, gone, or blocked by its own record stays out. show prints all decisions on an item, what the items topic says
of it, and what is in force.

\b
Exit codes: 0 done, 1 not written (what was is printed) or something does not answer, 64 usage, 78 configuration.
"""


@click.command("items", epilog=EPILOG)
@click.argument("action", type=click.Choice(["block", "hold", "approve", "show"]))
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@config_option
@click.option("--reason", help="Why: it is kept with the decision. Needed by block, hold and approve.")
@click.option("--by", help="Who decides. Default: the user who runs this command.")
def command(**given: Any) -> Any:
    """Block, hold or approve items for all lists, or show what was decided of them. ID -: ids from standard input, one
    a line."""
    from stream_worker.commands.items import command as body

    return body(**given)
