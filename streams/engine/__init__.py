"""The engine port and its adapters: what moves records, never what they mean."""
