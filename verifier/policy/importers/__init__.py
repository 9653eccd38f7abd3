"""Importers of peers' policy formats: each gives policies, exemptions, and a note for all it could not carry over."""
