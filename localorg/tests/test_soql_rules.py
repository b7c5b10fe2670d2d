"""What SOQL refuses by documented rule, and what it allows next to it (SOQL and SOSL Reference)."""

from __future__ import annotations

import pytest

from salesforce_localorg.records import Records
from salesforce_localorg.schema import Viewer
from salesforce_localorg.soql import SoqlError, parse
from salesforce_localorg.soql.ast import Comparison, Text

VIEWER = Viewer("0058c0000000001AAA")

REFUSED = [
    ("SELECT Id FROM Account WHERE Name = :x", "MALFORMED_QUERY", "Bind variables only allowed in Apex code"),
    ("SELECT Name n FROM Account", "MALFORMED_QUERY", "only aggregate expressions use field aliasing"),
    ("SELECT Name group FROM Account GROUP BY Name", "MALFORMED_QUERY", "unexpected token: 'group'"),
    ("SELECT Id FROM Account USING SCOPE nobody", "MALFORMED_QUERY", "unexpected token: 'nobody'"),
    (
        "SELECT Id FROM Account USING SCOPE team",
        "MALFORMED_QUERY",
        "USING SCOPE team is not supported by the local org",
    ),
    (
        "SELECT Id FROM Account WITH DATA CATEGORY A__c AT b__c",
        "MALFORMED_QUERY",
        "WITH DATA CATEGORY is not supported",
    ),
    ("SELECT Id FROM Account WITH UserId = '005'", "MALFORMED_QUERY", "WITH UserId is not supported"),
    ("SELECT Id FROM Account WHERE AnnualRevenue > USD5000", "MALFORMED_QUERY", "currency literal USD5000"),
    ("SELECT GROUPING(Industry) FROM Account", "MALFORMED_QUERY", "GROUPING takes GROUP BY ROLLUP or GROUP BY CUBE"),
    ("SELECT COUNT(), Id FROM Account", "MALFORMED_QUERY", "COUNT() must be the only element"),
    ("SELECT COUNT() FROM Account ORDER BY Name", "MALFORMED_QUERY", "COUNT() can not be used with ORDER BY"),
    ("SELECT MAX(CreatedDate) FROM Account LIMIT 1", "MALFORMED_QUERY", "cannot also use LIMIT"),
    ("SELECT MAX(IsDeleted) FROM Account", "MALFORMED_QUERY", "does not support aggregate operator MAX"),
    ("SELECT COUNT(Id) FROM Account WHERE COUNT(Id) > 1", "MALFORMED_QUERY", "not allowed in WHERE"),
    (
        "SELECT COUNT(Id) FROM Account GROUP BY Industry HAVING Name = 'x'",
        "MALFORMED_QUERY",
        "Field must be grouped or aggregated: Name",
    ),
    (
        "SELECT COUNT(Id) FROM Account GROUP BY Industry ORDER BY Name",
        "MALFORMED_QUERY",
        "Ordered field must be grouped or aggregated: Name",
    ),
    ("SELECT CALENDAR_YEAR(CreatedDate) FROM Account", "MALFORMED_QUERY", "must be grouped or aggregated"),
    ("SELECT convertTimezone(CreatedDate) FROM Account", "MALFORMED_QUERY", "can only be used in a date function"),
    ("SELECT Id FROM Account WHERE CALENDAR_YEAR(CreatedDate) = THIS_YEAR", "INVALID_FIELD", "must be of type int"),
    ("SELECT Id FROM Account WHERE Id = 'nope'", "INVALID_QUERY_FILTER_OPERATOR", "invalid ID field: nope"),
    ("SELECT Id FROM Account WHERE Id LIKE '001%'", "INVALID_QUERY_FILTER_OPERATOR", "invalid operator on id field"),
    ("SELECT Id FROM Account WHERE AnnualRevenue LIKE '1%'", "INVALID_QUERY_FILTER_OPERATOR", "invalid operator"),
    ("SELECT Id FROM Account WHERE BillingAddress = null", "INVALID_FIELD", "can not be filtered"),
    (r"SELECT Id FROM Account WHERE Name = '\q'", "MALFORMED_QUERY", r"Illegal escape sequence '\q'"),
    (
        "SELECT Id FROM Account WHERE Name = 'a' OR Id IN (SELECT AccountId FROM Contact)",
        "MALFORMED_QUERY",
        "Semi join sub-selects are not allowed with the 'OR' operator",
    ),
    (
        "SELECT Id FROM Account WHERE Name = 'a' AND (Name = 'b' AND Id IN (SELECT AccountId FROM Contact))",
        "MALFORMED_QUERY",
        "only allowed at the top level WHERE expressions",
    ),
    (
        "SELECT Id FROM Account WHERE NOT Id IN (SELECT AccountId FROM Contact)",
        "MALFORMED_QUERY",
        "not allowed with the 'NOT' operator",
    ),
    (
        "SELECT Id FROM Account WHERE Id IN (SELECT AccountId FROM Contact WHERE Id IN (SELECT ContactId FROM Case))",
        "MALFORMED_QUERY",
        "Nested semi join sub-selects are not supported",
    ),
    (
        "SELECT Id FROM Account WHERE Id IN (SELECT ParentId FROM Account)",
        "MALFORMED_QUERY",
        "The inner and outer selects should not be on the same object type",
    ),
    (
        "SELECT Id FROM Account WHERE Id IN (SELECT OwnerId FROM Contact)",
        "MALFORMED_QUERY",
        "should point to the same object type",
    ),
    (
        "SELECT Id FROM Account WHERE Id IN (SELECT AccountId FROM Task)",
        "MALFORMED_QUERY",
        "Entity 'Task' is not supported for semi join inner selects",
    ),
    (
        "SELECT Id FROM Account WHERE Id IN (SELECT AccountId FROM Contact LIMIT 5)",
        "MALFORMED_QUERY",
        "LIMIT is not supported in semi join sub-selects",
    ),
    (
        "SELECT Id FROM Contact WHERE Account.Id IN (SELECT Id FROM Account)",
        "INVALID_QUERY_FILTER_OPERATOR",
        "semi join",
    ),
    (
        "SELECT Id FROM Account WHERE Id IN (SELECT AccountId FROM Contact) AND Id IN (SELECT AccountId FROM Case) "
        "AND Id IN (SELECT AccountId FROM Opportunity)",
        "MALFORMED_QUERY",
        "Maximum 2 semi join",
    ),
    ("SELECT Id, (SELECT Id FROM Contacts LIMIT 1 OFFSET 1) FROM Account", "MALFORMED_QUERY", "OFFSET in a subquery"),
    ("SELECT Id, (SELECT COUNT() FROM Contacts) FROM Account", "MALFORMED_QUERY", "An aggregate in a child subquery"),
    (
        "SELECT Id, (SELECT Id, (SELECT Id, (SELECT Id, (SELECT Id, (SELECT Id FROM ChildAccounts) FROM ChildAccounts) "
        "FROM ChildAccounts) FROM ChildAccounts) FROM ChildAccounts) FROM Account",
        "MALFORMED_QUERY",
        "at most 5 levels of parents and children",
    ),
    ("SELECT TYPEOF Account WHEN Account THEN Id END FROM Contact", "MALFORMED_QUERY", "TYPEOF takes a relationship"),
    ("SELECT TYPEOF What WHEN Lead THEN Id END FROM Event", "INVALID_FIELD", "Lead is not an object that What"),
    (
        "SELECT What.Name, TYPEOF What WHEN Account THEN Id END FROM Event",
        "MALFORMED_QUERY",
        "already selected by TYPEOF",
    ),
    (
        "SELECT FORMAT(CreatedDate), TYPEOF What WHEN Account THEN Id END FROM Event",
        "MALFORMED_QUERY",
        "TYPEOF can not be",
    ),
    (
        "SELECT TYPEOF What WHEN Account THEN Name ELSE Owner.Name END FROM Event",
        "MALFORMED_QUERY",
        "A relationship in ELSE of TYPEOF",
    ),
    ("SELECT Id, " + ", ".join(["(SELECT Id FROM Contacts)"] * 21) + " FROM Account", "MALFORMED_QUERY", "at most 20"),
    (
        "SELECT Id FROM Account WHERE Parent.Parent.Parent.Parent.Parent.Parent.Name = 'a'",
        "MALFORMED_QUERY",
        "5 levels",
    ),
]

ALLOWED = [
    "SELECT count() FROM Contact c, c.Account a WHERE a.Name = 'MyriadPubs'",
    "SELECT COUNT() FROM Contact, Contact.Account WHERE Account.Name = 'MyriadPubs'",
    "SELECT Account.Name, (SELECT Contact.LastName FROM Account.Contacts) FROM Account",
    "SELECT Id FROM Account WHERE Id IN (SELECT AccountId FROM Contact) AND Id NOT IN (SELECT AccountId FROM Case)",
    "SELECT Id FROM Task WHERE WhoId IN (SELECT Id FROM Contact WHERE MailingCity = 'Twin Falls')",
    "SELECT Name, (SELECT Name FROM Opportunities LIMIT 10 OFFSET 2) FROM Account ORDER BY Name LIMIT 1",
    "SELECT TYPEOF What WHEN Account THEN Phone, NumberOfEmployees WHEN Opportunity THEN Amount ELSE Name, Email END "
    "FROM Event",
    "SELECT FORMAT(MIN(CloseDate)) closed, FORMAT(MAX(Amount)) FROM Opportunity",
    "SELECT Amount, FORMAT(Amount) a, convertCurrency(Amount) b, FORMAT(convertCurrency(Amount)) c FROM Opportunity",
    "SELECT HOUR_IN_DAY(convertTimezone(CreatedDate)), SUM(Amount) FROM Opportunity "
    "GROUP BY HOUR_IN_DAY(convertTimezone(CreatedDate))",
    "SELECT Name n, MAX(Amount) max FROM Opportunity GROUP BY Name",
    "SELECT Id FROM Account WITH SECURITY_ENFORCED",
    "SELECT Id FROM Account WITH USER_MODE ORDER BY Id LIMIT 3 FOR VIEW",
    "SELECT Id FROM Account USING SCOPE mine",
    "SELECT FIELDS(ALL) FROM Account LIMIT 200",
    "SELECT Id FROM Account WHERE CreatedDate IN (TODAY, LAST_N_DAYS:3) ALL ROWS",
]


@pytest.mark.parametrize(("soql", "code", "says"), REFUSED, ids=[soql[:60] for soql, _, _ in REFUSED])
def test_refused(records: Records, soql: str, code: str, says: str) -> None:
    with pytest.raises(SoqlError) as problem:
        records.open_cursor(soql, include_deleted=False, viewer=VIEWER)
    assert (problem.value.code, says in problem.value.message) == (code, True), problem.value.message


@pytest.mark.parametrize("soql", ALLOWED)
def test_allowed(records: Records, soql: str) -> None:
    cursor = records.open_cursor(soql, include_deleted=False, viewer=VIEWER)
    cursor.records(0, 5, "68.0") if cursor.kind != "count" else None
    cursor.close()


def test_at_most_55_relationships(records: Records) -> None:
    steps = ("CreatedBy", "LastModifiedBy", "Manager")
    paths = ["Owner", *(f"Owner.{a}.{b}.{c}" for a in steps for b in steps for c in steps)]  # 1 + 3 + 9 + 27
    soql = f"SELECT {', '.join(f'{path}.Alias' for path in paths)} FROM Account"
    records.open_cursor(soql, include_deleted=False, viewer=VIEWER).close()
    more = ", ".join(f"CreatedBy.{a}.{b}.{c}.Alias" for a in steps for b in steps for c in steps)
    with pytest.raises(SoqlError, match="at most 55"):
        records.open_cursor(soql.replace(" FROM", f", {more} FROM"), include_deleted=False, viewer=VIEWER)


@pytest.mark.parametrize(
    ("written", "meant"),
    [(r"\N\R\T", "\n\r\t"), (r"\\u0041", r"\u0041"), (r"\u0041\u00e9", "Aé"), (r"\ud83d\ude00", "\U0001f600")],
)
def test_escapes_mean_what_the_reference_says(written: str, meant: str) -> None:
    """Capital letters too; a doubled backslash in front of u0041 is a backslash and plain text."""
    where = parse(f"SELECT Id FROM Account WHERE Name = '{written}'").where
    assert isinstance(where, Comparison) and isinstance(where.value, Text) and where.value.value == meant


def test_an_escaped_wildcard_is_none(records: Records) -> None:
    soql = r"SELECT Id FROM Account WHERE Name LIKE '\u0025'"
    cursor = records.open_cursor(soql, include_deleted=False, viewer=VIEWER)
    assert cursor.total_size == 0
    cursor.close()
