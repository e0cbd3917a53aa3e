"""`stream-worker why`: its options and help."""

from __future__ import annotations

from typing import Any

import click

from stream_worker.usage.options import FOLDER, config_option

EPILOG = """\b
Examples:
  stream-worker why alice teapot --config worker.toml
  stream-worker why alice teapot -c worker.toml --json | jq .rank
  stream-worker why alice teapot --from learned

Looks at the newest checkpoint of this topic and group and at the user's memory, and touches no worker. Says who made
the item a candidate, its rank and its place in the list that a worker which goes on from this checkpoint would make,
what each feature adds compared with the user's mean candidate, or what keeps the item out. Then it looks for the user's
list among the newest ones of the output topic, and says how old it is; what a worker has learned since the checkpoint
is not in the answer.

\b
Exit codes: 0 done, 1 there is no such user or item, or something does not answer, 78 the configuration is wrong, or
there is no checkpoint.
"""


@click.command("why", epilog=EPILOG)
@click.argument("user")
@click.argument("item")
@config_option
@click.option(
    "--from", "from_path", type=FOLDER, help="Folder of checkpoints to look at, such as a replay's --checkpoint-to."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(**given: Any) -> Any:
    """Say why ITEM is in the list of USER, at which place, or why it isn't."""
    from stream_worker.commands.why import command as body

    return body(**given)
