"""Telling people what an extract warns of, by any of Airflow's notifiers (docs/monitoring.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from airflow_sfcc._airflow.warning_signs import WARNINGS_KEY


class WhenWarned:
    """A callback for `on_success_callback` that calls a notifier, or any callback, if the extract warns of something.

    What it warns of is in the context that the notifier's templates see: `salesforce_warnings`, a list of sentences.

        on_success_callback=WhenWarned(
            SmtpNotifier(to="data@acme.com", html_content="{{ salesforce_warnings | map('e') | join('<br>') }}")
        )

    :param callback: called with the context.
    """

    def __init__(self, callback: Callable[[Any], object]) -> None:
        self.callback = callback

    def __call__(self, context: Mapping[str, Any]) -> None:
        # Not by the XCom: Airflow writes an error into the log of every task that has none.
        warnings = getattr(context["ti"].task, WARNINGS_KEY, None)
        if warnings:
            self.callback({**context, WARNINGS_KEY: list(warnings)})
