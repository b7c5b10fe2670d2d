"""What the Celery workers of `make scale-test` call their host: they share a machine, and a task instance shows its host only."""

from __future__ import annotations

import os

WORKER_NAME = "SCALE_TEST_WORKER"


def worker_name() -> str:
    return os.environ[WORKER_NAME]
