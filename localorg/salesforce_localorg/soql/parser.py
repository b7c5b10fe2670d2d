"""SOQL text to syntax tree."""

from __future__ import annotations

import re
import threading
from functools import lru_cache
from importlib import resources

from lark import Lark
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

from salesforce_localorg.soql.ast import Query
from salesforce_localorg.soql.errors import SoqlError, at_position, unexpected_token, unsupported
from salesforce_localorg.soql.tree_builder import TreeBuilder

MAX_LENGTH = 100_000  # characters; salesforce-protocol.md#rest-queries
_KEPT_TREES = 256
_building = threading.Lock()


def parse(soql: str) -> Query:
    """The syntax tree of `soql`. Raises SoqlError for text that is not a supported query.

    Clients repeat their queries: trees are kept by text, and shared, since nothing can change them.
    """
    if len(soql) > MAX_LENGTH:
        raise SoqlError("MALFORMED_QUERY", f"SOQL statements cannot be longer than {MAX_LENGTH} characters.")
    return _parsed(soql)


@lru_cache(maxsize=_KEPT_TREES)
def _parsed(soql: str) -> Query:
    try:
        with _building:  # building takes a while; calls that come meanwhile wait for it rather than build their own
            parser = _parser()
        tree = parser.parse(soql)
        query: Query = TreeBuilder(soql).transform(tree)
    except UnexpectedInput as error:
        raise _syntax_error(soql, error) from None
    except VisitError as error:
        if isinstance(error.orig_exc, SoqlError):
            raise error.orig_exc from None
        raise
    except RecursionError:
        raise SoqlError("QUERY_TOO_COMPLICATED", "The query is nested too deeply; use fewer parentheses.") from None
    return query


@lru_cache(maxsize=1)
def _parser() -> Lark:
    grammar = resources.files(__package__).joinpath("grammar.lark").read_text(encoding="utf-8")
    # ASCII, because without case even the Kelvin sign would be a letter K.
    return Lark(grammar, parser="lalr", lexer="contextual", maybe_placeholders=True, g_regex_flags=re.ASCII)


def _syntax_error(soql: str, error: UnexpectedInput) -> SoqlError:
    at = error.pos_in_stream
    ended = isinstance(error, UnexpectedToken) and error.token.type == "$END"
    if ended or at is None or at >= len(soql):
        return unexpected_token(soql, len(soql), "<EOF>")
    if isinstance(error, UnexpectedToken) and error.accepts == {"COMMA", "_FROM"}:
        at = _misread_alias(soql, at)
    amount = re.search(r"(?<!\w)([A-Z]{3}[0-9]+)$", soql[:at], re.IGNORECASE)
    if amount is not None and soql[at] == ".":
        return unsupported(soql, amount.start(), f"The currency literal {amount[0]}{_number_at(soql, at)}")
    if soql[at] == ":":
        return at_position(soql, at, "MALFORMED_QUERY", "Bind variables only allowed in Apex code")
    if soql[at] == "'" and isinstance(error, UnexpectedCharacters):
        return at_position(soql, at, "MALFORMED_QUERY", "mismatched character '<EOF>' expecting '''")
    word = re.compile(r"\w+|.", re.DOTALL).match(soql, at)
    return unexpected_token(soql, at, word.group() if word else soql[at])


def _number_at(soql: str, at: int) -> str:
    found = re.compile(r"\.\d*").match(soql, at)
    return found[0] if found else ""


def _misread_alias(soql: str, at: int) -> int:
    """In `SELECT Id FORM Account` the grammar takes FORM for an alias and stumbles over Account; people mistyped FORM."""
    word = re.search(r"[\w)]\s+(?!END\s)(\w+)\s+$", soql[:at], re.IGNORECASE)
    return at if word is None else word.start(1)
