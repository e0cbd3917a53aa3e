"""The exit codes of the program; 64, 75 and 78 are those of sysexits.h."""

from __future__ import annotations

from enum import IntEnum

from stream_worker.core.errors import ConfigurationError, MemoriesLost, RestartNeeded, SlotTaken, StreamWorkerError


class ExitCode(IntEnum):
    """The exit codes, by what a supervisor has to do."""

    DONE = 0
    FAILED = 1
    USAGE = 64  # the command line is wrong
    RESTART = 75  # a new process has to take over: start me again
    SLOT_TAKEN = 76  # another process runs this slot: do not start me again
    # A setting or file is wrong, or a right is missing at the start: change that first. A running worker that loses a
    # right or a password waits instead, since it may be given back.
    CONFIGURATION = 78
    INTERRUPTED = 130  # Ctrl-C outside the commands that end cleanly on it


def exit_code(fault: StreamWorkerError) -> ExitCode:
    """Return the exit code for an error that ended the program."""
    if isinstance(fault, ConfigurationError):
        return ExitCode.CONFIGURATION
    if isinstance(fault, SlotTaken):
        return ExitCode.SLOT_TAKEN
    if isinstance(fault, RestartNeeded | MemoriesLost):
        return ExitCode.RESTART
    return ExitCode.FAILED  # of all others, OffsetLost and NoEvents among them
