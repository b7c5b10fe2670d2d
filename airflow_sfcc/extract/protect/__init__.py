"""Columns that must not land as they are: rules for hashing and dropping, and the keyed hash."""
