"""Questions about the record: one definition each, over a port that every store implements."""
