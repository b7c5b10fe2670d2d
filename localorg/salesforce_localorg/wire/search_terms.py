"""The search query of SOSL, what stands in the braces of FIND, as a SQL condition on a text.

Facts: SOQL and SOSL Reference, "FIND {SearchQuery}".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from salesforce_localorg.records.tables import literal

RESERVED = frozenset("&|!{}[]^~:+'")
_TOKEN = re.compile(
    r'"(?P<phrase>(?:\\.|[^"\\])*)"|(?P<bracket>[()])|(?P<word>(?:\\.|[^\s"()\\])+)|(?P<odd>["\\])', re.DOTALL
)
_LETTERS = re.compile(r"\\(?P<escaped>.)|(?P<wildcard>[*?])|(?P<space>\s+)|(?P<plain>.)", re.DOTALL)


class SearchTermError(Exception):
    """The search query is none; the message says why."""


@dataclass(frozen=True)
class _Token:
    """A word or phrase, escapes included, or a bracket. `operator` is AND, OR, NOT or empty."""

    text: str
    operator: str = ""
    bracket: str = ""


def condition(text: str, term: str, *, strict: bool) -> str:
    """The SQL of a search term for the SQL `text`: parentheses before AND and AND NOT, those before OR.

    With `strict` reserved characters have to be escaped, as in SOSL. Raises SearchTermError.
    """
    return _Parser(text, _tokens(term, strict)).whole()


def _tokens(term: str, strict: bool) -> list[_Token]:
    tokens = []
    for found in _TOKEN.finditer(term):
        words = found["phrase"] if found["phrase"] is not None else found["word"]
        if found["odd"] is not None:
            raise SearchTermError(f"unexpected character: {found['odd']}")
        if strict and words is not None and (bad := next((c for c in _unescaped(words) if c in RESERVED), None)):
            raise SearchTermError(f"The reserved character {bad} must be escaped with a backslash")
        is_operator = found["word"] is not None and words.upper() in ("AND", "OR", "NOT")
        tokens.append(_Token(words or "", words.upper() if is_operator else "", found["bracket"] or ""))
    return tokens


def _unescaped(words: str) -> str:
    return re.sub(r"\\.", "", words, flags=re.DOTALL)


class _Parser:
    """Reads the tokens from left to right."""

    def __init__(self, text: str, tokens: list[_Token]) -> None:
        self._text = text
        self._tokens = tokens
        self._at = 0

    def whole(self) -> str:
        sql = self._either()
        if self._next() is not None:
            raise SearchTermError("unexpected token: ')'")
        return sql

    def _next(self) -> _Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _take(self, operator: str) -> bool:
        token = self._next()
        if token is None or token.operator != operator:
            return False
        self._at += 1
        return True

    def _either(self) -> str:
        terms = [self._all()]
        while self._take("OR"):
            terms.append(self._all())
        return f"({' OR '.join(terms)})"

    def _all(self) -> str:
        terms = [self._one()]
        while (token := self._next()) is not None and token.operator != "OR" and token.bracket != ")":
            self._take("AND")
            terms.append(f"NOT {self._one()}" if self._take("NOT") else self._one())
        return f"({' AND '.join(terms)})"

    def _one(self) -> str:
        token = self._next()
        if token is None or token.operator or token.bracket == ")":
            raise SearchTermError(f"unexpected token: '{'<EOF>' if token is None else token.text or token.bracket}'")
        self._at += 1
        if token.bracket != "(":
            return f"regexp_matches({self._text}, {literal(_pattern(token.text))}, 'i')"
        inner = self._either()
        closing = self._next()
        if closing is None or closing.bracket != ")":
            raise SearchTermError("expecting a right parentheses, found '<EOF>'")
        self._at += 1
        return inner


def _pattern(words: str) -> str:
    """A regular expression for the words in a row, none of which begins or ends within another word."""
    wildcards = {"*": r"\w*", "?": r"\w"}
    written = "".join(
        wildcards[each["wildcard"]]
        if each["wildcard"]
        else r"\s+"
        if each["space"]
        else re.escape(each["escaped"] or each["plain"])
        for each in _LETTERS.finditer(words)
    )
    return rf"(^|\W){written}($|\W)"
