"""Staged files, their commit with a manifest, and what cleans up after them."""
