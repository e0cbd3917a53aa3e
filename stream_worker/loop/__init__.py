"""The loop: everything between a poll and a commit. It knows `model`, `core` and interfaces, and no backend."""
