"""The single-machine mode: the same handlers in one process, one SQLite file for log, state, evidence and record."""
