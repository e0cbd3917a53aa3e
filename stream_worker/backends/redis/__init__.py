"""Redis: user memories, one key a record, every write fenced by the partition's token; and the items' numbers."""

from stream_worker.backends.redis.store import RedisMemoryStore
from stream_worker.backends.redis.trial import Trial

__all__ = ["RedisMemoryStore", "Trial"]
