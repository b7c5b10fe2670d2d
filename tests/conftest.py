"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# Tests never judge wall time: machines differ, and the first example pays for imports and caches.
settings.register_profile("airflow-sfcc", deadline=None, print_blob=True)
settings.load_profile("airflow-sfcc")
