"""Keys and windows, revocations, exemptions: versioned records in one log, folded into a `TrustState`."""
