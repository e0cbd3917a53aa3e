"""A look at the scene again and again, from a thread of its own."""

from __future__ import annotations

import threading
from typing import Self


class Onlooker:
    """Calls `_look` every so many seconds while the block runs; its fault is raised at the block's end."""

    def __init__(self, name: str, every_seconds: float) -> None:
        self._every_seconds = every_seconds
        self._over = threading.Event()
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=name)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()
        if self._fault is not None:
            raise self._fault

    def _look(self) -> None:
        raise NotImplementedError

    def _run(self) -> None:
        try:
            while not self._over.wait(self._every_seconds):
                self._look()
        except Exception as fault:
            self._fault = fault
