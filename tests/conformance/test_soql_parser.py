"""Our SOQL parser takes what soql-parser-js takes: on generated queries, on all clauses, and on mutants of both.

Where they differ on purpose a reason is named, and checked as far as it can be.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from salesforce_localorg.soql import SoqlError, parse
from soql_judge.texts import texts
from soql_judge.world import VIEWER, World, open_world

from tests.conformance.environments import SOQL_PARSER

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(1800)]
QUERIES = int(os.environ.get("SOQL_QUERIES", "6000"))
SEED = int(os.environ.get("SOQL_SEED", "20261124"))
SCRIPT = Path(__file__).parent / "clients" / "parse_soql.cjs"

_NAME = re.compile(r"[A-Za-z_(]")
_COMPLETE = re.compile(
    r"('|\)|\d|Z|null|true|false|TODAY|\w+:\d+|[A-Z]+_[A-Z0-9_]+|TOMORROW|YESTERDAY)\s*$", re.IGNORECASE
)
_GLUED = re.compile(
    r"(by|and|or|not|in|like|includes|excludes|asc|desc|limit|offset|nulls|first|last|null|true|false)\w", re.I
)
_WITHOUT_PARENTHESES = re.compile(r"\b(in|includes|excludes)\s*$", re.IGNORECASE)
_TYPEOF_FIELD = re.compile(r"\btypeof\s+[\w.]+\s*$", re.IGNORECASE)
_NOT_BESIDE = re.compile(r"not\b", re.IGNORECASE)
_JUNCTION = re.compile(r"(and|or)\b", re.IGNORECASE)
_NOT_BESIDE_BEFORE = re.compile(r"(where|having|\()\s*not\b", re.IGNORECASE)
_KEYWORD = re.compile(
    r"(and|asc|desc|excludes|first|from|group|having|in|includes|last|like|limit|not|null|nulls|or|order|select|using|where|"
    r"with|when|then|else|end|typeof|offset|for|update|all|rows|scope|by)$",
    re.IGNORECASE,
)
# What it stumbles over: how it is written, what to write instead, and the reason to take it all the same.
_STUMBLES = (
    (r"(?<![T\d])\d\d:\d\d:\d\d(\.\d+)?Z?", "2025-01-01", "it does not know time literals"),
    (r"\s+offset\s+\d+", "", "it wants LIMIT before OFFSET after WHERE (reference: both are optional)"),
    (r"[\u2028\u2029\0]", " ", "it ends strings at Unicode's line separators"),
    (r"\b(order|group)\s+by\b", r"\1 by", "it wants one space in ORDER BY"),
    (
        r"\)\s+(true|false)\s+from\b",
        ") x from",
        "it takes no alias called true (reference: Alias Notation lists others)",
    ),
    (r"(?<!\d[-:])\b0+(?=\d+$)", "", "it takes no zeros in front of a number"),  # days of dates have them
)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    found = open_world()
    yield found
    found.records.close()


def takes(queries: Sequence[str]) -> list[bool]:
    """Which of the queries soql-parser-js takes."""
    environment = {**os.environ, "NODE_PATH": SOQL_PARSER.path("node_modules")}
    done = subprocess.run(
        ["node", str(SCRIPT)], input=json.dumps(queries), capture_output=True, text=True, check=True, env=environment
    )
    answer: list[bool] = json.loads(done.stdout)
    return answer


def refusal(soql: str) -> SoqlError | None:
    try:
        parse(soql)
    except SoqlError as error:
        return error
    return None


def test_the_parsers_agree(world: World) -> None:
    queries = list(itertools.islice(texts(world, SEED), QUERIES))
    plain = [without_stumbles(soql) for soql in queries]
    reasons: Counter[str] = Counter()
    unexplained = []
    for soql, theirs, theirs_plain in zip(queries, takes(queries), takes(plain)):
        ours = refusal(soql)
        if theirs == (ours is None):
            reasons["same"] += 1
            continue
        reason = why_only_theirs(soql, ours) if ours is not None else why_only_ours(world, soql, theirs_plain)
        reasons[reason or "unexplained"] += 1
        if reason is None:
            unexplained.append(f"{soql}\n  {'only theirs: ' + ours.message[-120:] if ours else 'only ours'}")
    print(dict(reasons))
    assert not unexplained, "\n".join(unexplained[:10])
    assert reasons["same"] > 0.95 * QUERIES


def why_only_theirs(soql: str, error: SoqlError) -> str | None:
    """Why we refuse what soql-parser-js takes: each time Salesforce's reference is on our side."""
    for part, reason in _MESSAGES.items():
        if part in error.message:
            return reason
    place = re.search(r"Row:(\d+):Column:(\d+)", error.message)
    if place is None:
        return None
    lines = soql.split("\n")
    at = sum(len(line) + 1 for line in lines[: int(place[1]) - 1]) + int(place[2]) - 1
    before, after = soql[:at], soql[at:]
    if _GLUED.match(after):
        return "it splits BYName and ANDName into keyword and name"
    if after[:1] == "." or before.rstrip().endswith("."):
        return "it takes dots in aliases and at the end of paths"
    if after[:1] == "(" and re.search(r"[<>=]\s*$", before):
        return "it takes a value in parentheses after an operator"
    if re.match(r"[+-]\d", after) and before.endswith(":"):
        return "it takes a sign in a date literal (reference: n is a number of days)"
    if _TYPEOF_FIELD.search(before):
        return "it takes TYPEOF for the name of a field (reference: TYPEOF has a WHEN)"
    if _NOT_BESIDE.match(after) or (_NOT_BESIDE_BEFORE.search(before) and _JUNCTION.match(after)):
        return "it takes NOT beside AND and OR (grammar of Salesforce's language server: NOT stands alone)"
    if _WITHOUT_PARENTHESES.search(before):
        return "it takes IN and INCLUDES without parentheses"
    if _KEYWORD.search(re.split(r"\s", after.strip(), maxsplit=1)[0]) or _KEYWORD.search(before.strip()):
        return "it takes keywords as aliases (reference: Alias Notation)"
    if _NAME.match(after) and _COMPLETE.search(before):
        return "it takes conditions with nothing between them"
    return None


_MESSAGES = {
    "Illegal escape sequence": "it does not read escape sequences (reference: Quoted String Escape Sequences)",
    "Invalid date": "it does not check that days exist",
    "is not supported by the local org": "we refuse by name what the local org does not do",
}


def without_stumbles(soql: str) -> str:
    for pattern, instead, _ in _STUMBLES:
        soql = re.sub(pattern, instead, soql, flags=re.IGNORECASE)
    return soql


def why_only_ours(world: World, soql: str, theirs_plain: bool) -> str | None:
    """Why we take what soql-parser-js refuses; `theirs_plain`: it takes the query written without what it stumbles over."""
    if theirs_plain:
        found = (
            reason
            for pattern, instead, reason in _STUMBLES
            if re.sub(pattern, instead, soql, flags=re.IGNORECASE).lower() != soql.lower()
        )
        return next(found, None)
    try:
        world.records.open_cursor(soql, include_deleted=False, viewer=VIEWER).close()
    except SoqlError:
        return "names are checked by our compiler, not by the parser: the org refuses it too"
    return None
