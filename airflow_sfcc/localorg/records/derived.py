"""Fields whose value follows from other fields of the same record.

Each is a SQL expression over the record's columns, in an order in which later ones may use earlier ones. They are computed
when records are generated and again after every insert and update.
"""

from __future__ import annotations

from collections.abc import Mapping

from airflow_sfcc.localorg.schema import SObject

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


def derived_fields(sobject: SObject) -> dict[str, str]:
    """Expressions by field name. Empty when an org's own schema lacks a field that the object's expressions name."""
    expressions = DERIVED.get(sobject.name, {})
    used = {part for sql in expressions.values() for part in sql.split('"')[1::2]} | expressions.keys()
    return dict(expressions) if all(sobject.field(name) for name in used) else {}
