"""The memory store in Redis: one key per memory record, writes fenced by a token, and the dictionary of items."""

from stream_worker.backends.redis.store import RedisMemoryStore
from stream_worker.backends.redis.trial import Trial

__all__ = ["RedisMemoryStore", "Trial"]
