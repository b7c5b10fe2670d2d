"""Which objects are meant: `["*", "!*History", "Invoice__c"]`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from airflow_sfcc.errors import OptionError
from airflow_sfcc.wording import did_you_mean

_WILD = "*?["


class Patterns:
    """Names with `*` and `?`, in any case; `!` before one excludes what it matches, and later ones win over earlier ones.

    Raises OptionError where nothing could ever match.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        if isinstance(patterns, str) or not all(isinstance(each, str) and each.strip(" !") for each in patterns):
            raise OptionError(f"objects is a list of names and patterns, such as ['*', '!*History'], not {patterns!r}.")
        self._patterns = [(not each.startswith("!"), each.lstrip("!").strip()) for each in map(str.strip, patterns)]
        if not any(includes for includes, _ in self._patterns):
            raise OptionError(
                f"objects={list(patterns)!r} selects nothing: begin with '*', or with names, and exclude from that."
            )

    def selects(self, name: str) -> bool:
        verdict = False
        for includes, pattern in self._patterns:
            if fnmatchcase(name.lower(), pattern.lower()):
                verdict = includes
        return verdict

    def selected(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if self.selects(name)]

    def without_effect(self, names: Iterable[str]) -> list[str]:
        """A sentence for each pattern that matches none of the `names`, with those that may have been meant."""
        known = list(names)
        return [
            f"objects has {pattern!r}, and the org has none of that name. {_hint(pattern, known)}".strip()
            for _, pattern in self._patterns
            if not any(fnmatchcase(name.lower(), pattern.lower()) for name in known)
        ]


def _hint(pattern: str, known: Sequence[str]) -> str:
    return "" if any(each in pattern for each in _WILD) else did_you_mean(pattern, known)
