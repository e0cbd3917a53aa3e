"""One module a command: what it does, in a function named `command`. How it is called stands in `usage`."""
