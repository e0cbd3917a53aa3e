"""The program: one group of commands, one mapping of errors to exit codes."""

from __future__ import annotations

import difflib
import faulthandler
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

import click

from stream_worker import __version__
from stream_worker.core.errors import StreamWorkerError
from stream_worker.core.printable import printable
from stream_worker.exit_codes import ExitCode, exit_code

_COMMANDS = {
    "run": "Read events from Kafka, learn from them and publish recommendations.",
    "replay": "Run recorded logs through the worker's own loop, and measure.",
    "compare": "Replay recorded logs with two configurations, side by side.",
    "produce": "Send recorded logs to the input topic.",
    "record": "Write the records of a topic to a file that `replay` reads.",
    "guess": "Propose a mapping for the records of a topic or file.",
    "topics": "Create those of the worker's topics that are missing.",
    "tail": "Print recommendations, or dead letters, as they are published.",
    "memory": "Print the memories of all users or of one.",
    "why": "Say why an item is in a user's list, at which place, or why it isn't.",
    "items": "Block, hold or approve items for all lists, or show what was decided.",
    "reset": "Delete everything that a configuration's workers have kept, to begin anew. Asks first.",
    "demo": "Show everything at once, with no services installed.",
    "check": "Try the services and folders that a configuration names, and show how records are read.",
}


class _Commands(click.Group):
    """The group of commands; it imports a command's module, in `usage`, only when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            if ctx.resilient_parsing:
                return None  # a shell asks for completions, where an error would disturb
            close = difflib.get_close_matches(cmd_name, _COMMANDS, n=1, cutoff=0.4)
            ctx.fail(
                f"no command {cmd_name!r}; "
                + (f"did you mean {close[0]}?" if close else f"known are {', '.join(_COMMANDS)}")
            )
        command: click.Command = importlib.import_module(f"stream_worker.usage.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


EPILOG = """\b
Examples:
  stream-worker demo --seconds 30
  stream-worker topics create --config worker.toml
  stream-worker check --config worker.toml
  stream-worker run --config worker.toml
  stream-worker replay clicks.csv --mapping examples/canonical.toml
  eval "$(_STREAM_WORKER_COMPLETE=bash_source stream-worker)"    Tab completes commands, options and files

\b
Exit codes: 0 done, 1 failed, 64 usage, 75 start me again, 76 slot taken, 78 configuration.
"""


@click.group(
    cls=_Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, "-V", "--version", prog_name="stream-worker")
def cli() -> None:
    """Streaming recommendations: reads events from Kafka, keeps one LSTM state per user, learns from every event, and
    publishes a fresh list for each user with new events."""


def main(args: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        result = cli.main(
            args=_asked(sys.argv[1:] if args is None else args), prog_name="stream-worker", standalone_mode=False
        )
        return int(result) if isinstance(result, int) else ExitCode.DONE
    except click.UsageError as fault:
        fault.show()
        return ExitCode.USAGE
    except click.ClickException as fault:
        fault.show()
        return ExitCode.FAILED
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except StreamWorkerError as fault:
        first, *more = str(fault).split("\n")
        # Indented, so that no text from outside can pass for a line of the program's own.
        print(
            "\n".join([f"stream-worker: {printable(first)}", *(f"  {printable(line.strip())}" for line in more)]),
            file=sys.stderr,
        )
        return exit_code(fault)


def _asked(args: Sequence[str]) -> list[str]:
    """Return the arguments, with `help run` replaced by `run --help`."""
    return [*args[1:], "--help"] if args[:1] == ["help"] else list(args)


def program(args: Sequence[str] | None = None) -> NoReturn:
    """Run `main`, then end the process without unloading native libraries.

    Everything is written and closed by then. When Python's own shutdown ran with torch and librdkafka loaded, a worker
    that had stopped in good order ended with SIGSEGV in malloc (seen twice, never reproduced).
    """
    faulthandler.enable()  # so that a crash in native code shows Python's traceback
    leave(main(args))


def leave(code: int) -> NoReturn:
    """Flush all output and end the process at once."""
    logging.shutdown()
    with suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
