"""Fields whose value follows from other fields of the same record.

Each is a SQL expression over the record's columns, in an order in which later ones may use earlier ones. They are computed
when records are generated and again after every insert and update.
"""

from __future__ import annotations

from collections.abc import Mapping

from salesforce_localorg.schema import SObject

_PERSON_NAME = """concat_ws(' ', "FirstName", "LastName")"""

_PROBABILITY = """CASE "StageName"
    WHEN 'Prospecting' THEN 10 WHEN 'Qualification' THEN 10 WHEN 'Needs Analysis' THEN 20 WHEN 'Value Proposition' THEN 50
    WHEN 'Id. Decision Makers' THEN 60 WHEN 'Perception Analysis' THEN 70 WHEN 'Proposal/Price Quote' THEN 75
    WHEN 'Negotiation/Review' THEN 90 WHEN 'Closed Won' THEN 100 ELSE 0 END"""

_FORECAST = """CASE WHEN "StageName" = 'Closed Lost' THEN 'Omitted' WHEN "StageName" = 'Closed Won' THEN 'Closed'
    WHEN "StageName" = 'Negotiation/Review' THEN {commit} WHEN "StageName" = 'Proposal/Price Quote' THEN {best}
    ELSE 'Pipeline' END"""

DERIVED: Mapping[str, Mapping[str, str]] = {
    "Contact": {"Name": _PERSON_NAME},
    "Lead": {"Name": _PERSON_NAME},
    "User": {"Name": _PERSON_NAME},
    "Opportunity": {
        "IsClosed": "\"StageName\" LIKE 'Closed%'",
        "IsWon": "\"StageName\" = 'Closed Won'",
        "Probability": _PROBABILITY,
        "ExpectedRevenue": '"Amount" * "Probability" / 100',
        "ForecastCategory": _FORECAST.format(commit="'Forecast'", best="'BestCase'"),
        "ForecastCategoryName": _FORECAST.format(commit="'Commit'", best="'Best Case'"),
        "FiscalYear": 'CAST(year("CloseDate") AS INTEGER)',
        "FiscalQuarter": 'CAST(quarter("CloseDate") AS INTEGER)',
        "Fiscal": """concat(year("CloseDate"), ' ', quarter("CloseDate"))""",
    },
    "Case": {
        "IsClosed": "coalesce(\"Status\" = 'Closed', FALSE)",
        "ClosedDate": 'CASE WHEN "IsClosed" THEN "LastModifiedDate" END',
    },
    "Task": {
        "IsClosed": "\"Status\" = 'Completed'",
        "IsHighPriority": "\"Priority\" = 'High'",
        "CompletedDateTime": 'CASE WHEN "IsClosed" THEN "LastModifiedDate" END',
    },
    "Event": {
        "ActivityDateTime": '"StartDateTime"',
        "ActivityDate": 'CAST("StartDateTime" AS DATE)',
        "EndDateTime": 'least("StartDateTime" + to_minutes("DurationInMinutes"), TIMESTAMP \'4000-12-31 23:59:59\')',
        "EndDate": 'CAST("EndDateTime" AS DATE)',
    },
    "Invoice__c": {"Total_Formula__c": 'coalesce("Amount__c", 0) * (1 + coalesce("Tax_Rate__c", 0) / 100)'},
}


# What a user may give a value of their own: it then follows the other field's next change only.
# Source: Object Reference, Opportunity, "Probability".
SETTABLE: Mapping[tuple[str, str], str] = {("Opportunity", "Probability"): "StageName"}


class Formulas:
    """The expressions in force: those above, and what an administrator changed while the org runs."""

    def __init__(self) -> None:
        self._changed: dict[str, dict[str, str]] = {}

    def of(self, sobject: SObject) -> dict[str, str]:
        """Expressions by field name, in an order in which later ones may use earlier ones."""
        changed = self._changed.get(sobject.name, {})
        return {**derived_fields(sobject), **{name: sql for name, sql in changed.items() if sobject.field(name)}}

    def change(self, sobject: SObject, field_name: str, sql: str) -> None:
        """Give a field another expression."""
        self._changed.setdefault(sobject.name, {})[field_name] = sql

    def layers(self, sobject: SObject) -> list[dict[str, str]]:
        """The expressions in groups that one statement can write: none uses another of its group."""
        layers: list[dict[str, str]] = []
        for name, sql in self.of(sobject).items():
            if not layers or layers[-1].keys() & _used(sql):
                layers.append({})
            layers[-1][name] = sql
        return layers


def derived_fields(sobject: SObject) -> dict[str, str]:
    """Expressions by field name, without those that name a field which the object lacks."""
    expressions = DERIVED.get(sobject.name, {})
    return {name: sql for name, sql in expressions.items() if all(map(sobject.field, {name, *_used(sql)}))}


def _used(sql: str) -> set[str]:
    """The columns that an expression names."""
    return set(sql.split('"')[1::2])
