"""Runs `stream-worker` as `python -m stream_worker`."""

from stream_worker.cli import program

program()
