"""The options, help and examples of the commands, one module per command.

Nothing large is imported before a command begins.
"""
