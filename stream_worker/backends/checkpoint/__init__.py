"""Checkpoints as folders: safetensors and a JSON manifest with checksums. No pickle.

    <path>/<name>-<8 hex>/                       one source: a topic (or log) as one group reads it (`SourceId`)
        <slot>/owner.lock                        locked by the live process of this slot
        <slot>/00000012-5f3a90c1/                one checkpoint: sequence number, and nonce of the start that wrote it
            line.safetensors                     all arrays
            manifest.json                        format, time, checksum and size of each file, the snapshot's meta
                                                 (its `source` is a SourceId), and a checksum over all other fields of
                                                 the manifest, sorted by key
    <path>/<slot>/00000012-5f3a90c1/             the place that older versions used for any source; `adopt` moves them

A checkpoint is written to a folder with the ending `.tmp`, synced, and renamed. So a folder without that ending is
complete; if it was damaged later, its checksums show it. Only the owner may read folders and files (0700, 0600),
because without Redis they contain the memories of users.
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
