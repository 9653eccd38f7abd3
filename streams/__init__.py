"""Events in, events out, and the composition root."""
