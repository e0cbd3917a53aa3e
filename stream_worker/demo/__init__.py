"""What `stream-worker demo` shows: a simulated shop, an embedded Kafka, and one worker between them."""
