"""The work of the commands: one module per command, with a function named `command`. Options and help: `usage`."""
