"""The errors of the stream worker. Each class stands for one thing to do about the error.

StreamWorkerError
├── ConfigurationError      stop: the user must change something (exit 78)
│   └── RightMissing        stop at the start; later wait, since a right that was taken away may be given back
├── InvalidEvent            set aside: the record goes to the dead letters with its reason
├── Unavailable             retry: an outside service does not answer
├── TransactionAborted      send the same records again in a new transaction
├── StaleToken              let the partition go: another worker has claimed it since
├── MemoriesLost            let all partitions go and claim them again: the store is not what it was
├── SlotTaken               stop, and do not restart: another process holds this slot (exit 76)
├── RestartNeeded           stop: a new process has to take over (exit 75)
├── NoEvents                stop: no record of a log is an event
├── OffsetLost              stop: retention has overtaken a committed offset
└── CorruptCheckpoint       use an older checkpoint
"""

from __future__ import annotations


class StreamWorkerError(Exception):
    """Root of every error raised on purpose by this program."""


class ConfigurationError(StreamWorkerError):
    """A setting, file or argument is wrong; the message names it and its bound."""


class RightMissing(ConfigurationError):  # noqa: N818
    """A right on the broker that this user lacks; the message names it and the command that grants it."""


class InvalidEvent(StreamWorkerError):  # noqa: N818
    """A record that is not an event.

    `error`: the class of the fault (`core.event_fields` has all), the dead letter's `error` header.
    `reason`: a sentence for a person, its `reason` header.
    """

    def __init__(self, error: str, reason: str) -> None:
        super().__init__(f"{error}: {reason}")
        self.error = error
        self.reason = reason


class Unavailable(StreamWorkerError):  # noqa: N818
    """A service (Kafka, Redis, the disk) that does not answer now; the same call may succeed later."""


class TransactionAborted(StreamWorkerError):  # noqa: N818
    """An aborted transaction: its records were not published and have to be sent again."""


class StaleToken(StreamWorkerError):  # noqa: N818
    """A refused write: it carried `token`, but `current` is the partition's token now."""

    def __init__(self, partition: int, token: int, current: int) -> None:
        super().__init__(f"partition {partition}: token {token} is stale, the current one is {current}")
        self.partition = partition
        self.token = token
        self.current = current


class MemoriesLost(StreamWorkerError):  # noqa: N818
    """A memory store that was restarted, wiped, or put back to an earlier state.

    Its records may be older than what was written to it, and it may give item numbers a second time. Every call raises
    this error until the store is told to `begin_again`.
    """


class SlotTaken(StreamWorkerError):  # noqa: N818
    """A worker slot that another live process uses."""


class RestartNeeded(StreamWorkerError):  # noqa: N818
    """A fatal failure of a client; a new process starts from the committed state."""


class NoEvents(StreamWorkerError):  # noqa: N818
    """A log without a single event; the message tells the commonest reasons, with a row of each."""


class OffsetLost(StreamWorkerError):  # noqa: N818
    """A next offset to read from that the topic does not hold any more."""


class CorruptCheckpoint(StreamWorkerError):  # noqa: N818
    """A checkpoint that is torn, altered or unreadable."""
