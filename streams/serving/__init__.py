"""The processes of the clustered mode: how each is wired, and what all have (health, metrics, logs, a decent end)."""
