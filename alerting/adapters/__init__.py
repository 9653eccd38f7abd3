"""Places where people look; each translates messages and foreign errors, and decides nothing."""
