"""The SQL expression that makes each field's value out of the row number `i`, a seed and the field's type and name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence

from salesforce_localorg.records import hard_values, value_pools
from salesforce_localorg.records.macros import id_expression
from salesforce_localorg.records.setup_rows import SETUP_COUNTS, SETUP_VALUES
from salesforce_localorg.records.tables import list_literal, literal
from salesforce_localorg.schema import Field, Schema, SObject

# Generated stamps end here, whatever day it is, so that the same seed always gives the same rows.
EPOCH_SECONDS = 1_767_225_600  # 2026-01-01T00:00:00Z
SPAN_SECONDS = 3 * 365 * 86400

# Rows that hold the values that break clients, where a field can hold them.
HARD_ROW = f"(i < 64 OR i % 997 = 0 OR i IN {hard_values.LONG_TEXT_ROWS})"

# One row in 101 is deleted; references avoid those rows, as Salesforce clears lookups to deleted records.
DELETED_EVERY, DELETED_AT = 101, 57

STAMP_FIELDS = {"CreatedDate": "created_s", "LastModifiedDate": "modified_s", "SystemModstamp": "stamped_s"}

_LONG_TEXTAREA = 4000
_USUAL_DIGITS = 8  # of an int field
_CITY_COLUMNS = ("City", "State", "PostalCode", "Country", "Latitude", "Longitude")


class RowExpressions:
    """Expressions for one object. `counts` tells how many rows each object has, so that references find a target."""

    def __init__(self, sobject: SObject, schema: Schema, counts: Mapping[str, int], seed: int) -> None:
        self._sobject = sobject
        self._schema = schema
        self._counts = counts
        self._seed = seed
        self._has_hard_rows = sobject.name not in SETUP_COUNTS

    def stamps(self) -> str:
        """Helper columns in epoch seconds, each not before the one to its left: created, modified, stamped."""
        born = self._random("created")
        return (
            f"CAST({EPOCH_SECONDS - SPAN_SECONDS} + {born} % {SPAN_SECONDS} AS BIGINT) AS created_s, "
            f"CAST(created_s + {self._random('modified')} % ({EPOCH_SECONDS} - created_s + 1) AS BIGINT) AS modified_s, "
            f"CAST(modified_s + CASE WHEN {self._random('moved')} % 4 = 0 "
            f"THEN {self._random('stamped')} % ({EPOCH_SECONDS} - modified_s + 1) ELSE 0 END AS BIGINT) AS stamped_s"
        )

    def of(self, field: Field) -> str:
        """The expression for the field's column."""
        fixed = self._fixed(field)
        if fixed is not None:
            return fixed
        ordinary = _BY_TYPE.get(field.type, RowExpressions._text)(self, field)
        if field.nillable and field.type != "boolean":
            ordinary = f"CASE WHEN {self._random('null', field.name)} % 9 = 0 THEN NULL ELSE {ordinary} END"
        hard = self._hard(field)
        return f"CASE WHEN {HARD_ROW} THEN {hard} ELSE {ordinary} END" if hard else ordinary

    def _random(self, *key: str) -> str:
        digest = hashlib.blake2b("/".join((str(self._seed), self._sobject.name, *key)).encode(), digest_size=7).digest()
        return f"hash(i + {int.from_bytes(digest, 'big')})"

    def _pick(self, values: Sequence[str], *key: str) -> str:
        return f"({list_literal(values)})[1 + CAST({self._random(*key)} % {len(values)} AS INTEGER)]"

    def _fixed(self, field: Field) -> str | None:
        """Fields whose value is not left to chance."""
        values = SETUP_VALUES.get(self._sobject.name, {}).get(field.name)
        if values:
            return f"({list_literal(values)})[1 + i % {len(values)}]"
        if field.type == "id":
            return id_expression(self._sobject.key_prefix or "000", "i")
        if field.name in STAMP_FIELDS:
            return f"make_timestamp({STAMP_FIELDS[field.name]} * 1000000)"
        if field.name == "IsDeleted":
            return f"i % {DELETED_EVERY} = {DELETED_AT}"
        if field.auto_number:
            return auto_number(self._sobject, "i + 1")
        if (field.unique or field.external_id) and field.is_number:
            return "i"
        if field.unique or field.external_id:
            return "concat('EXT-', lpad(CAST(i AS VARCHAR), 9, '0'))"
        return _FIXED.get(f"{self._sobject.name}.{field.name}")

    def _hard(self, field: Field) -> str | None:
        """The value for hard rows; None where the field cannot hold anything but ordinary values."""
        if not self._has_hard_rows or not field.createable or field.auto_number or field.external_id or field.unique:
            return None
        turn = f"(i + {sum(field.name.encode()) % 97})"

        def choose(values: str) -> str:
            return f"({values})[1 + CAST({turn} % len({values}) AS INTEGER)]"

        if field.type in ("string", "textarea"):
            texts = hard_values.texts_within(field.length)
            if not texts:
                return None
            text = choose(list_literal(texts))
            return self._with_long_text(text, field) if field.length >= _LONG_TEXTAREA else text
        if field.type in ("double", "currency", "percent"):
            numbers = hard_values.numbers_within(field.precision, field.scale)
            if _is_coordinate(field):
                numbers = [number for number in numbers if abs(number) <= 90]
            if not numbers:
                return None
            # Quoted, because a bare -0.0 is a decimal in SQL, and decimals have no negative zero.
            return choose("[" + ", ".join(f"CAST('{number!r}' AS DOUBLE)" for number in numbers) + "]")
        if field.type == "int":
            most = 10 ** (field.digits or _USUAL_DIGITS) - 1
            return choose(f"[0, 1, -1, {most}, {-most}, {min(most, 1_000_000)}]")
        if field.type == "date":
            return choose("[" + ", ".join(f"DATE '{day}'" for day in hard_values.DATES) + "]")
        if field.type == "datetime":
            return choose("[" + ", ".join(f"TIMESTAMP '{when}'" for when in hard_values.DATETIMES) + "]")
        if field.type == "time":
            return choose("[" + ", ".join(f"TIME '{time}'" for time in hard_values.TIMES) + "]")
        return None

    def _with_long_text(self, text: str, field: Field) -> str:
        unit = hard_values.LONG_TEXT_UNIT
        repeats = min(field.length, hard_values.LONG_TEXT_LENGTH) // hard_values.utf16_length(unit)
        rows = ", ".join(str(row) for row in hard_values.LONG_TEXT_ROWS)
        return f"CASE WHEN i IN ({rows}) THEN repeat({literal(unit)}, {repeats}) ELSE {text} END"

    def _text(self, field: Field) -> str:
        for pattern, make in _TEXT_BY_NAME:
            if pattern.search(field.name):
                return f"left({make(self, field)}, {field.length})" if field.length else make(self, field)
        words = value_pools.WORDS
        pair = f"concat({self._pick(words, field.name, '1')}, ' ', {self._pick(words, field.name, '2')})"
        return f"left({pair}, {field.length})" if field.length else pair

    def _textarea(self, field: Field) -> str:
        if re.search("Street$", field.name):
            return f"left({self._street(field)}, {field.length or 255})"
        sentences = value_pools.SENTENCES
        both = f"concat({self._pick(sentences, field.name, '1')}, ' ', {self._pick(sentences, field.name, '2')})"
        return f"left({both}, {field.length})"

    def _street(self, field: Field) -> str:
        number = f"CAST(1 + {self._random(field.name, 'number')} % 400 AS VARCHAR)"
        return f"concat({number}, ' ', {self._pick(value_pools.STREETS, field.name, 'street')})"

    def _city_part(self, field: Field) -> str:
        """One column of a row of CITIES; the components of one address choose the same row."""
        column = next(place for place, suffix in enumerate(_CITY_COLUMNS) if _city_suffix(field.name, suffix))
        values = [city[column] for city in value_pools.CITIES]
        written = (
            list_literal([str(v) for v in values]) if column < 4 else "[" + ", ".join(f"{v}" for v in values) + "]"
        )
        chosen = (
            f"({written})[1 + CAST({self._random('city', field.compound_field_name or '')} % {len(values)} AS INTEGER)]"
        )
        return chosen if column < 4 else f"CAST({chosen} AS DOUBLE)"

    def _company(self, field: Field) -> str:
        parts = (value_pools.COMPANY_STEMS, value_pools.COMPANY_TRADES, value_pools.COMPANY_FORMS)
        picks = [self._pick(part, field.name, str(place)) for place, part in enumerate(parts)]
        return f"concat({picks[0]}, ' ', {picks[1]}, ' ', {picks[2]})"

    def _pool(self, values: Sequence[str], field: Field) -> str:
        return self._pick(values, field.name)

    def _picklist(self, field: Field) -> str:
        values = [str(entry["value"]) for entry in field.picklist_values if entry.get("active", True)]
        if values:
            return self._pick(values, field.name)
        return "NULL" if field.nillable else literal("None")

    def _multipicklist(self, field: Field) -> str:
        values = [str(entry["value"]) for entry in field.picklist_values][:16]
        chance = self._random(field.name)
        parts = [
            f"CASE WHEN ({chance} >> {place}) % 3 = 0 THEN {literal(value)} END" for place, value in enumerate(values)
        ]
        return f"nullif(concat_ws(';', {', '.join(parts)}), '')" if parts else "NULL"

    def _reference(self, field: Field) -> str:
        targets = [
            target for name in field.reference_to if (target := self._schema.sobject(name)) and self._rows(target)
        ]
        if not targets:
            return "NULL" if field.nillable else id_expression("005", "0")
        ids = [self._target_id(target, field) for target in targets]
        if len(ids) == 1:
            return ids[0]
        turn = f"{self._random(field.name, 'target')} % {len(ids)}"
        cases = " ".join(f"WHEN {place} THEN {sql}" for place, sql in enumerate(ids))
        return f"CASE {turn} {cases} END"

    def _target_id(self, target: SObject, field: Field) -> str:
        number = f"CAST({self._random(field.name, target.name)} % {self._rows(target)} AS BIGINT)"
        if target.field("IsDeleted"):
            number = f"({number} - CASE WHEN {number} % {DELETED_EVERY} = {DELETED_AT} THEN 1 ELSE 0 END)"
        return id_expression(target.key_prefix or "000", number)

    def _rows(self, sobject: SObject) -> int:
        return self._counts.get(sobject.name, 0)

    def _boolean(self, field: Field) -> str:
        return f"{self._random(field.name)} % 10 < 3"

    def _int(self, field: Field) -> str:
        return f"CAST({self._random(field.name)} % {min(5000, 10 ** (field.digits or _USUAL_DIGITS))} AS INTEGER)"

    def _double(self, field: Field) -> str:
        if _is_coordinate(field):
            return self._city_part(field)
        scale = min(field.scale, 9)
        whole_digits = max(0, min(field.precision - field.scale, 7)) if field.precision else 7
        return f"CAST({self._random(field.name)} % {10 ** (whole_digits + scale)} AS DOUBLE) / {10**scale}"

    def _percent(self, field: Field) -> str:
        most = min(101, 10 ** max(0, field.precision - field.scale)) if field.precision else 101
        return f"CAST({self._random(field.name)} % {most} AS DOUBLE)"

    def _date(self, field: Field) -> str:
        return (
            f"CAST(make_timestamp({EPOCH_SECONDS}000000) AS DATE) - CAST({self._random(field.name)} % 1500 AS INTEGER)"
        )

    def _datetime(self, field: Field) -> str:
        return (
            f"make_timestamp(CAST({EPOCH_SECONDS} - {self._random(field.name)} % {SPAN_SECONDS} AS BIGINT) * 1000000)"
        )

    def _time(self, field: Field) -> str:
        return f"CAST(make_timestamp(CAST({self._random(field.name)} % 86400000 AS BIGINT) * 1000) AS TIME)"

    def _email(self, field: Field) -> str:
        names = [name.lower() for name in value_pools.LAST_NAMES if name.isascii() and name.isalpha()]
        number = f"CAST({self._random(field.name, 'n')} % 10000 AS VARCHAR)"
        return f"concat({self._pick(names, field.name)}, {number}, '@example.com')"

    def _url(self, field: Field) -> str:
        stems = [stem.lower() for stem in value_pools.COMPANY_STEMS]
        return f"concat('https://www.', {self._pick(stems, field.name)}, '.example/?id=', CAST(i AS VARCHAR))"

    def _phone(self, field: Field) -> str:
        area = f"CAST(200 + {self._random(field.name, 'area')} % 800 AS VARCHAR)"
        line = f"lpad(CAST({self._random(field.name, 'line')} % 10000 AS VARCHAR), 4, '0')"
        return f"concat('(', {area}, ') 555-', {line})"

    def _nothing(self, field: Field) -> str:
        return "NULL" if field.nillable else "''"


def auto_number(sobject: SObject, number: str) -> str:
    """The SQL of an auto number field's value for a SQL integer expression: 00000042, or INV-000042 in custom objects."""
    start, digits = _auto_number_shape(sobject)
    return f"concat('{start}', lpad(CAST({number} AS VARCHAR), {digits}, '0'))"


def auto_number_text(sobject: SObject, number: int) -> str:
    """The value of an auto number field."""
    start, digits = _auto_number_shape(sobject)
    return f"{start}{number:0{digits}d}"


def _auto_number_shape(sobject: SObject) -> tuple[str, int]:
    return ("INV-", 6) if sobject.custom else ("", 8)


def _is_coordinate(field: Field) -> bool:
    return bool(re.search("(Latitude|Longitude)(__s)?$", field.name))


def _city_suffix(name: str, suffix: str) -> bool:
    return name.endswith((suffix, f"{suffix}__s"))


_BY_TYPE: Mapping[str, Callable[[RowExpressions, Field], str]] = {
    "boolean": RowExpressions._boolean,
    "int": RowExpressions._int,
    "long": RowExpressions._int,
    "double": RowExpressions._double,
    "currency": RowExpressions._double,
    "percent": RowExpressions._percent,
    "date": RowExpressions._date,
    "datetime": RowExpressions._datetime,
    "time": RowExpressions._time,
    "reference": RowExpressions._reference,
    "picklist": RowExpressions._picklist,
    "multipicklist": RowExpressions._multipicklist,
    "combobox": RowExpressions._picklist,
    "textarea": RowExpressions._textarea,
    "email": RowExpressions._email,
    "url": RowExpressions._url,
    "phone": RowExpressions._phone,
    "base64": RowExpressions._nothing,
    "json": RowExpressions._nothing,
    "complexvalue": RowExpressions._nothing,
}

_TEXT_BY_NAME: tuple[tuple[re.Pattern[str], Callable[[RowExpressions, Field], str]], ...] = (
    (re.compile("(City|State|PostalCode|Country)(__s)?$"), RowExpressions._city_part),
    (re.compile("FirstName$"), lambda row, field: row._pool(value_pools.FIRST_NAMES, field)),
    (
        re.compile("(LastName|AssistantName|SuppliedName|PrimaryContact)$"),
        lambda row, f: row._pool(value_pools.LAST_NAMES, f),
    ),
    (re.compile("^(Name|.*Company.*|Tradestyle|Site)$"), RowExpressions._company),
    (re.compile("Title$"), lambda row, field: row._pool(value_pools.TITLES, field)),
    (re.compile("Department$"), lambda row, field: row._pool(value_pools.DEPARTMENTS, field)),
    (re.compile("^(Subject|NextStep)$"), lambda row, field: row._pool(value_pools.SUBJECTS, field)),
    (
        re.compile("(Number|Jigsaw|Sic$|NaicsCode|YearStarted)"),
        lambda row, f: f"CAST(1000 + {row._random(f.name)} % 9000 AS VARCHAR)",
    ),
)

# Objects and fields whose meaning a person would miss if chance made them.
_FIXED: Mapping[str, str] = {
    "Account.MasterRecordId": "NULL",
    "Contact.MasterRecordId": "NULL",
    "Lead.MasterRecordId": "NULL",
    "Case.MasterRecordId": "NULL",
    "Attachment.Body": "''",
    "Event.DurationInMinutes": "CAST(15 * (1 + i % 16) AS INTEGER)",
    "Event.RecurrenceActivityId": "NULL",
    "Task.RecurrenceActivityId": "NULL",
    "User.Username": "concat('user', CAST(i AS VARCHAR), '@localorg.example')",
    "User.Alias": "concat('u', CAST(i AS VARCHAR))",
    "User.CommunityNickname": "concat('user', CAST(i AS VARCHAR))",
    "User.IsActive": "TRUE",
    "User.UserType": "'Standard'",
    "User.ManagerId": "NULL",
    "Profile.PermissionsApiEnabled": "TRUE",
    "Profile.UserType": "'Standard'",
    "RecordType.IsActive": "TRUE",
    "Organization.FiscalYearStartMonth": "1",
    "Organization.IsSandbox": "FALSE",
    "Organization.IsReadOnly": "FALSE",
    "Organization.TrialExpirationDate": "NULL",
    "Organization.NamespacePrefix": "NULL",
    "CaseStatus.SortOrder": "CAST(i + 1 AS INTEGER)",
    "CaseStatus.IsDefault": "i = 0",
    "CaseStatus.IsClosed": "i = 3",
}
