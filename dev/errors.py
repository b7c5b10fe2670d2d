"""What can go wrong with the processes of this machine's stack, as sentences for the person who started it."""

from __future__ import annotations


class StackError(RuntimeError):
    """Something did not start, answer or finish; the message says what, and what to do or where to look."""
