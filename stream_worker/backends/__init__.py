"""Backends: Kafka, Redis, files, checkpoints and metrics, behind the interfaces of `core`; twins are in `in_memory`."""
