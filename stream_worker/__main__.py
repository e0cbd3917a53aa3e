"""`python -m stream_worker` is `stream-worker`."""

from stream_worker.cli import program

program()
