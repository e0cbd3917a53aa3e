"""What systemd or Kubernetes would do with the workers: start again what ends with 75, and nothing else."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from stream_worker.exit_codes import ExitCode
from tests.chaos.scenario import Seen
from tests.chaos.under_load import Play


class Supervisor:
    """Keeps the workers of a play running; `leaving` were told to end, and have to end with 0."""

    def __init__(self, play: Play) -> None:
        self._play, self._fleet = play, play.fleet
        self.leaving: set[str] = set()
        self.restarts = 0

    def look(self) -> None:
        """Deal with those that have ended. Raises AssertionError where one had no reason to."""
        for slot, process in list(self._fleet.processes.items()):
            code = process.poll()
            if code is not None:
                del self._fleet.processes[slot]
                self._ended(slot, code)

    def _ended(self, slot: str, code: int) -> None:
        expected = ExitCode.DONE if slot in self.leaving else ExitCode.RESTART
        assert code == expected, (
            f"worker {slot} ended with {code}, expected {expected.value}:\n{self._fleet.log(slot)[-3000:]}"
        )
        if slot not in self.leaving:
            self.restarts += 1
            self._fleet.start(slot)
        self.leaving.discard(slot)

    def leave(self, slot: str) -> None:
        """Tell a worker to end, without waiting for it."""
        self.leaving.add(slot)
        self._fleet.signal(slot, signal.SIGTERM)

    def wait_for(self, condition: Callable[[], bool], what: str, timeout: float = 120.0) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            self.look()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not within {timeout} s\n{self._fleet.last_words(*self._fleet.processes)}")
            time.sleep(0.1)

    def finish(self) -> None:
        """All that was sent is published, and all workers end with 0."""
        self.wait_for(self._play.scene.done, "all of it", 240)
        for slot in self._fleet.processes.keys() - self.leaving:
            self.leave(slot)
        self.wait_for(lambda: not self._fleet.processes, "all workers gone", 60)

    def judged(self, **seen: object) -> Seen:
        """Finish; contract 1 at every list, memories as in the log."""
        self.finish()
        return self._play.verdict(**seen, **{"restarts by 75": self.restarts})
