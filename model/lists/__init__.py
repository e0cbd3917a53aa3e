"""Lists: what becomes of the ranked candidates before they are published, by rules that a shop sets."""
