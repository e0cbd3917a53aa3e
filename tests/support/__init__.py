"""Real services, workers as processes, and worlds to put a worker in: for tests and benchmarks."""
