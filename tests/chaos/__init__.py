"""Exactly-once, proven by killing it: scenarios on a real Kafka and Redis, each a line in the table of `make chaos`."""
