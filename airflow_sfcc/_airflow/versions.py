"""Which Airflow this is, for what older ones do not have."""

from __future__ import annotations

import logging
from typing import Any

import airflow

INSTALLED = airflow.__version__

log = logging.getLogger(__name__)

AIRFLOW = tuple(int(part) for part in INSTALLED.split(".")[:2])
"""Major and minor version, such as `(3, 3)`."""

HAS_3_3 = AIRFLOW >= (3, 3)
"""Retry policies, state stores, and `on_kill` of triggers came with Airflow 3.3."""

_said: set[str] = set()


def say_missing(feature: str, instead: str) -> None:
    """Log once per process that a feature needs Airflow 3.3, and what happens without it."""
    if feature not in _said:
        _said.add(feature)
        log.warning("%s needs Airflow 3.3, this is %s: %s", feature, INSTALLED, instead)


def without_policy_before_3_3(settings: dict[str, Any]) -> None:
    """Take `retry_policy` out of an operator's arguments where Airflow does not know it yet."""
    if not HAS_3_3 and "retry_policy" in settings:
        del settings["retry_policy"]
        say_missing("retry_policy", "the task's own retry_delay holds.")
