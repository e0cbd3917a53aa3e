"""The items that are live: their rows, vectors and numbers, and the attic of those that left."""
