"""The errors of the stream worker. The branch an error sits on says what to do with it.

StreamWorkerError
├── ConfigurationError      stop: the user must change something (exit 78)
│   └── RightMissing        at the start as above; later wait: what was taken away may be given back
├── InvalidEvent            set aside: the record goes to the dead letters with its reason
├── Unavailable             retry: an outside service does not answer
├── TransactionAborted      send the same records again in a new transaction
├── StaleToken              let the partition go: another worker has claimed it since
├── MemoriesLost            let all partitions go and claim them again: the store is not what it was
├── SlotTaken               stop, and do not restart: another process holds this slot (exit 76)
├── RestartNeeded           stop, a new process cures it (exit 75)
├── NoEvents                stop: a log holds nothing that is an event
├── OffsetLost              stop: retention has overtaken a committed offset
└── CorruptCheckpoint       use an older checkpoint
"""

from __future__ import annotations


class StreamWorkerError(Exception):
    """Root of every error raised on purpose by this program."""


class ConfigurationError(StreamWorkerError):
    """A setting, file or argument is wrong; the message names it and its bound."""


class RightMissing(ConfigurationError):  # noqa: N818
    """The broker does not let this user do something; the message names the right and how it is given."""


class InvalidEvent(StreamWorkerError):  # noqa: N818  (the field's name for it, and the dead letter's `error` header)
    """A record that is not an event. `error` is the class of the fault, `reason` one sentence for a person."""

    def __init__(self, error: str, reason: str) -> None:
        super().__init__(f"{error}: {reason}")
        self.error = error
        self.reason = reason


class Unavailable(StreamWorkerError):  # noqa: N818
    """An outside service (Kafka, Redis, the disk) does not answer now; the same call may succeed later."""


class TransactionAborted(StreamWorkerError):  # noqa: N818
    """The transaction was aborted; its records were not published and have to be sent again."""


class StaleToken(StreamWorkerError):  # noqa: N818
    """A write for `partition` with `token` was refused, since `current` is the partition's token now."""

    def __init__(self, partition: int, token: int, current: int) -> None:
        super().__init__(f"partition {partition}: token {token} is stale, the current one is {current}")
        self.partition = partition
        self.token = token
        self.current = current


class MemoriesLost(StreamWorkerError):  # noqa: N818
    """The memory store was restarted, wiped, or put back to an earlier state: what it holds may be older than what was
    written to it, and numbers of items may be given again. Raised until the store is told to `begin_again`."""


class SlotTaken(StreamWorkerError):  # noqa: N818
    """Another live process uses the same worker slot."""


class RestartNeeded(StreamWorkerError):  # noqa: N818
    """A client failed fatally; a new process starts from the committed state."""


class NoEvents(StreamWorkerError):  # noqa: N818
    """Nothing of a log is an event; the message tells the commonest reasons, with a row of each."""


class OffsetLost(StreamWorkerError):  # noqa: N818
    """A next offset to read from is no longer in the topic."""


class CorruptCheckpoint(StreamWorkerError):  # noqa: N818
    """A checkpoint is torn, altered or unreadable."""
