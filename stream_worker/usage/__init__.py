"""One module a command: how it is called, its help and examples. Nothing large is imported before a command begins."""
