"""A query's text with one condition more, as PK chunking and searches need it."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"'(?:\\.|[^'\\])*'|\w+|[()]", re.DOTALL)
_BEHIND_WHERE = frozenset({"WITH", "GROUP", "ORDER", "LIMIT", "OFFSET", "FOR", "UPDATE", "ALL"})


def with_condition(soql: str, condition: str) -> str:
    """The query for those of its records that also meet the condition; the query is one that `parse` takes."""
    depth, where, behind, in_from = 0, None, len(soql), False
    for token in _TOKEN.finditer(soql):
        word = token[0].upper()
        depth += {"(": 1, ")": -1}.get(word, 0)
        if depth:
            continue
        in_from = in_from or word == "FROM"
        if in_from and word == "WHERE" and where is None:
            where = token
        elif in_from and word in _BEHIND_WHERE:
            behind = token.start()
            break
    rest = soql[behind:]
    if where is None:
        return f"{soql[:behind].rstrip()} WHERE {condition} {rest}".rstrip()
    return f"{soql[: where.end()]} ({soql[where.end() : behind].strip()}) AND {condition} {rest}".rstrip()
