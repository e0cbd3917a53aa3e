"""Numbers of items that a failover may have made the dictionary forget are never given again.

In a cluster the dictionary and the records stand on several masters, each with a history of its own: records may name
numbers that the dictionary's new master has not heard of. So whoever first begins there leaves a gap.
"""

from __future__ import annotations

from stream_worker.backends.redis.connection import Connection, script_of

# More numbers than are given within the delay of a replica, and few of 4 billion.
GAP = 100_000

# KEYS: counter, master. ARGV: who the master is, the gap.
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
    """`counter` is the key of the last number given."""

    def __init__(self, connection: Connection, counter: str, master: str) -> None:
        self._connection = connection
        self._keys = [counter, master]
        self._leave = script_of(LEAVE_GAP)

    def leave(self) -> None:
        """To be called before the first number that is taken from a master."""
        with self._connection.claimed():
            if master := self._connection.identity_of(self._keys[0]):
                self._connection.run(self._leave, self._keys, [master, str(GAP)])
