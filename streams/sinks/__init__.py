"""Where what happened is kept: documents made from events, and the stores that take them."""
