"""One module per outside thing (Kafka, Redis, files, checkpoints, metrics), each with a twin in `in_memory`."""
