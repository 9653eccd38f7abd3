"""Tamper evidence: what the record holds, in Merkle batches, chained and signed. `docs/ledger.md` tells it whole."""
