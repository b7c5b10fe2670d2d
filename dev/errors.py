"""The errors of `make demo`, `up`, `stack-test` and `scale-test`, as sentences for the person who started them."""

from __future__ import annotations


class HarnessError(RuntimeError):
    """Something did not start, respond or finish; the message says what, and what to do or where to look."""
