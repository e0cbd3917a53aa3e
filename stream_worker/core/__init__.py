"""Pure rules of the stream worker: events, offsets, records, metrics. No I/O, no clock, no model."""
