"""The demo of `stream-worker demo`: a simulated shop, an embedded Kafka, and one worker that reads from it."""
