"""The recommender: torch, compiled counting and mathematics. Opens no file, knows no broker and no clock."""
