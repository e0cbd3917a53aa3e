"""Skips item numbers after a failover, so that a number that the dictionary has forgotten is not given twice.

In a cluster the dictionary and the memory records are on different masters, which fail over independently. Records may
then contain numbers that the dictionary's new master never received. The first worker that finds a new master raises
the counter of numbers by a gap.
"""

from __future__ import annotations

from stream_worker.backends.redis.connection import Connection, script_of

# Item numbers. More than are given out within a replica's delay, and few of the 4 billion that exist. Not tuned.
GAP = 100_000

# Notes the dictionary's master, and raises the counter if another one was noted before. Returns 1 if it was raised.
# KEYS: counter, master. ARGV: identity of the master, gap.
LEAVE_GAP = """
local before = redis.call('GET', KEYS[2])
if before == ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[1])
local counter = redis.call('GET', KEYS[1])
if not before or not counter then return 0 end
redis.call('SET', KEYS[1], string.format('%.0f', tonumber(counter) + tonumber(ARGV[2])))
return 1
"""


class NumberGap:
    """Leaves the gap. `counter` is the key of the last number given, `master` the key of the noted master."""

    def __init__(self, connection: Connection, counter: str, master: str) -> None:
        self._connection = connection
        self._keys = [counter, master]
        self._leave = script_of(LEAVE_GAP)

    def leave(self) -> None:
        """Leave a gap if the master has changed. Must be called before the first number is taken."""
        with self._connection.claimed():
            if master := self._connection.identity_of(self._keys[0]):
                self._connection.run(self._leave, self._keys, [master, str(GAP)])
