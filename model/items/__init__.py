"""The live items: their rows, vectors and numbers, and the attic of evicted ones."""
