"""For the process that workers are forked from, which can only be told what to import: importing this takes seconds."""

from stream_worker.commands import run  # noqa: F401 (what a worker needs is loaded by it)
from stream_worker.config import Settings
from stream_worker.logs import configure
from stream_worker.warm_up import warm_up

configure("error")
warm_up(Settings())
