"""Policies for what others sign in public, as files that people read: `revet policy starter` prints and writes them.

Every file says where its identity was read. All are in trial: a start, not a verdict about anybody.
"""
