"""From evidence to facts: everything that is tried, and the only place where signatures are verified."""
