"""Policies: the native model, selection with each dialect's own globs, the requirement tree, importers."""
