"""Query texts for parsers: generated queries, ones with every other clause of the grammar, and mutants of both."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from .queries import Generator
from .world import World

_TOKEN = re.compile(r"'(?:\\.|[^'\\])*'|\d[\w.:+-]*|\w[\w.]*|[<>!]=|<>|\s+|.", re.DOTALL)
_WORDS = (
    "SELECT FROM WHERE AND OR NOT IN LIKE INCLUDES EXCLUDES ORDER BY GROUP HAVING LIMIT OFFSET NULLS FIRST LAST ASC DESC "
    "USING SCOPE WITH FOR UPDATE TYPEOF WHEN THEN ELSE END null true ( ) , = != < > <= >= ' \\ : . ; * 5 -1 2.5 'x' Id Name "
    "TODAY LAST_N_DAYS:7 LAST_N_DAYS 2025-01-01 2025-01-01T00:00:00Z COUNT() COUNT(Id) FIELDS(ALL)"
).split()
_HEADS = (
    "Id, toLabel(Status) s",
    "FORMAT(Amount) a, convertCurrency(Amount) b",
    "FORMAT(convertCurrency(Amount)) c",
    "FIELDS(STANDARD)",
    "fields(all)",
    "Id, TYPEOF What WHEN Account THEN Phone, Name WHEN Contact THEN Email ELSE Id END",
    "TYPEOF Owner WHEN User THEN Id END, Name",
    "Id, (SELECT Id, Name FROM Contacts WHERE Name LIKE 'a%' ORDER BY Id LIMIT 5), (SELECT Id FROM Cases)",
    "(SELECT Id FROM Account.Contacts)",
    "COUNT(Id) n, MAX(Amount), Name",
    "GROUPING(Type) g, COUNT(Id)",
    "a.Id, a.Owner.Name",
    "COUNT()",
    "FORMAT(MIN(CloseDate)) m",
)
_SOURCES = (
    "Account",
    "Account a",
    "ns__Thing__c",
    "Group",
    "Order",
    "Account USING SCOPE mine",
    "Task USING SCOPE delegated",
)
_FILTERS = (
    "",
    " WHERE toLabel(Status) = 'x'",
    " WHERE DISTANCE(Location__c, GEOLOCATION(37.775, -122.418), 'mi') < 20",
    " WHERE CALENDAR_YEAR(convertTimezone(CreatedDate)) = 2025 AND (NOT Name = 'a')",
    " WHERE (Name = 'a' OR (NOT (Id != null))) AND Id IN (SELECT AccountId FROM Contact WHERE Name NOT IN ('a', null))",
    " WHERE Tags__c INCLUDES ('a;b', 'c') AND Name > '' AND Amount >= -12.50",
    " WHERE CreatedDate = N_FISCAL_QUARTERS_AGO:3 OR CreatedDate > 2025-01-01T10:00:00+01:00 OR d__c < 2025-02-28",
)
_MODES = ("", " WITH SECURITY_ENFORCED", " WITH USER_MODE", " WITH SYSTEM_MODE")
_GROUPS = (
    "",
    "",
    " GROUP BY Name, CALENDAR_YEAR(CreatedDate) HAVING COUNT(Id) > 1 AND Name LIKE 'a%'",
    " GROUP BY ROLLUP(Name, Type)",
)
_ENDS = (
    "",
    " ORDER BY Name DESC NULLS LAST, COUNT(Id), Owner.Name ASC",
    " ORDER BY CALENDAR_YEAR(CreatedDate) LIMIT 5 OFFSET 10",
    " LIMIT 0",
    " OFFSET 3",
    " LIMIT 1 FOR VIEW",
    " FOR REFERENCE",
    " FOR UPDATE",
    " UPDATE TRACKING",
    " LIMIT 3 UPDATE VIEWSTAT",
)


def texts(world: World, seed: int) -> Iterator[str]:
    """Endless: of four texts one is a generated query, one of all clauses, two are mutants."""
    chance = random.Random(seed)
    generator = Generator(world, seed)
    while True:
        generated = generator.case().soql
        clauses = "SELECT " + "".join(
            chance.choice(each) for each in ((_HEADS), (" FROM ",), _SOURCES, _FILTERS, _MODES, _GROUPS, _ENDS)
        )
        yield generated
        yield clauses
        yield mutant(generated, chance)
        yield mutant(clauses, chance)


def mutant(text: str, chance: random.Random) -> str:
    """The text with one to three tokens lost, doubled, swapped or replaced, or a character changed."""
    tokens = _TOKEN.findall(text)
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(tokens))
        change = chance.choice(["lose", "double", "swap", "replace", "insert", "character"])
        if change == "lose" and len(tokens) > 1:
            del tokens[place]
        elif change == "double":
            tokens.insert(place, tokens[place])
        elif change == "swap":
            other = chance.randrange(len(tokens))
            tokens[place], tokens[other] = tokens[other], tokens[place]
        elif change == "replace":
            tokens[place] = chance.choice(_WORDS)
        elif change == "insert":
            tokens.insert(place, f" {chance.choice(_WORDS)} ")
        else:
            token = tokens[place]
            at = chance.randrange(len(token))
            tokens[place] = token[:at] + chance.choice("'\"\\%_();,.:=<>!$ aZ0\n") + token[at + 1 :]
    return "".join(tokens)
