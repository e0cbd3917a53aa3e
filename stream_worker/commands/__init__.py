"""One module a command of the program; each holds one click command named `command`."""
