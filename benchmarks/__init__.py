"""Ours beside the peers, on the same pages with the same columns: `make bench`."""
