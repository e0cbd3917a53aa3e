"""Checkpoints as folders: safetensors and a JSON manifest with checksums. No pickle.

    <path>/<name>-<8 hex>/                       one source: a topic (or log) as one group reads it (`SourceId`)
        <slot>/owner.lock                        held by the live process of this slot
        <slot>/00000012-5f3a90c1/                one checkpoint: sequence and the nonce of the start that wrote it
            line.safetensors                     all arrays
            manifest.json                        format, time, checksum and size of each file, the snapshot's meta
                                                 (`source` says whose it is), and its own checksum (over all its other
                                                 fields, sorted)
    <path>/<slot>/00000012-5f3a90c1/             as older versions wrote them, whatever the source: moved when it starts

Written beside, synced, then renamed: a folder without the `.tmp` ending is whole, or its checksums say that it is not.
Folders and files are for their owner alone (0700, 0600): without Redis, memories of users are in them.
"""

from stream_worker.backends.checkpoint.config import CheckpointConfig
from stream_worker.backends.checkpoint.reading import newest_in
from stream_worker.backends.checkpoint.removal import Found, found_of
from stream_worker.backends.checkpoint.slot import DirectoryCheckpoints
from stream_worker.backends.checkpoint.sources import adopt, folder_of, newest_of, slots_below
from stream_worker.backends.checkpoint.start_lock import start_lock

__all__ = [
    "CheckpointConfig",
    "DirectoryCheckpoints",
    "Found",
    "adopt",
    "folder_of",
    "found_of",
    "newest_in",
    "newest_of",
    "slots_below",
    "start_lock",
]
