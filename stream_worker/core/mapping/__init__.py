"""Mapping of records to events: which value of a document is the user, the item, the type, the time."""
