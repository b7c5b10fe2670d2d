"""SQL macros that speak Salesforce: record ids, and numbers as Java prints them."""

from __future__ import annotations

import duckdb

from salesforce_localorg.ids import BASE62, CHECKSUM, record_id

# record_id counts in nine digits; the macro writes the last five, which is plenty for rows that one machine holds.
_SQL_DIGITS = 5
MAX_ROWS: int = 62**_SQL_DIGITS
FIRST_INSERTED = MAX_ROWS  # records that people add count from here, so their ids never meet those of generated rows


def id_expression(key_prefix: str, number: str) -> str:
    """SQL for ids.record_id(key_prefix, number), where `number` is a SQL integer expression below MAX_ROWS."""
    first = record_id(key_prefix, 0)
    head, tail = first[: 15 - _SQL_DIGITS], first[15:17]
    return f"sf_record_id('{head}', '{tail}', {number})"


def create_macros(connection: duckdb.DuckDBPyConnection) -> None:
    """Define the macros in the database."""
    for statement in (_digit_macro(), _upper_bit_macro(), _record_id_macro(), *_csv_macros(), *_java_double_macros()):
        connection.execute(statement)


def _digit_macro() -> str:
    return "CREATE OR REPLACE MACRO sf_digit(n, weight) AS (n // weight) % 62"


def _upper_bit_macro() -> str:
    return (
        "CREATE OR REPLACE MACRO sf_upper_bit(digit, worth) AS CASE WHEN digit BETWEEN 10 AND 35 THEN worth ELSE 0 END"
    )


def _record_id_macro() -> str:
    weights = [62**power for power in reversed(range(_SQL_DIGITS))]
    chars = ", ".join(f"substr('{BASE62}', 1 + sf_digit(n, {weight}), 1)" for weight in weights)
    bits = " + ".join(f"sf_upper_bit(sf_digit(n, {weight}), {1 << place})" for place, weight in enumerate(weights))
    check = f"substr('{CHECKSUM}', 1 + {bits}, 1)"
    return f"CREATE OR REPLACE MACRO sf_record_id(head, tail, n) AS concat(head, {chars}, tail, {check})"


def _csv_macros() -> tuple[str, ...]:
    return (
        # A cell between its quotes; Salesforce writes null as empty text.
        """CREATE OR REPLACE MACRO sf_csv_cell(s) AS coalesce(replace(s, '"', '""'), '')""",
        # DuckDB leaves the fraction out where it is zero, and zeros at its end.
        """CREATE OR REPLACE MACRO sf_csv_time(s) AS
             concat(left(concat(s, CASE WHEN contains(s, '.') THEN '' ELSE '.' END, '000'), 12), 'Z')""",
    )


def _java_double_macros() -> tuple[str, ...]:
    """Java's Double.toString: plain from 1e-3 to below 1e7, otherwise one digit, a point, digits, E and the exponent.

    DuckDB already prints the shortest digits that read back as the same number; only their arrangement differs.
    """
    return (
        # DuckDB itself wrote an exponent: 1e+20, 1.5e-07.
        """CREATE OR REPLACE MACRO sf_from_exponent(s) AS
             concat(split_part(s, 'e', 1), CASE WHEN contains(split_part(s, 'e', 1), '.') THEN '' ELSE '.0' END,
                    'E', CAST(split_part(s, 'e', 2) AS INTEGER))""",
        # 16147805824397.0: the point moves behind the first digit.
        """CREATE OR REPLACE MACRO sf_from_large(s) AS
             concat(left(s, 1), '.',
                    coalesce(nullif(rtrim(concat(substr(split_part(s, '.', 1), 2), split_part(s, '.', 2)), '0'), ''), '0'),
                    'E', length(split_part(s, '.', 1)) - 1)""",
        # 0.00012: the point moves behind the first digit that is not zero.
        """CREATE OR REPLACE MACRO sf_from_small(s) AS
             concat(left(ltrim(split_part(s, '.', 2), '0'), 1), '.',
                    coalesce(nullif(substr(ltrim(split_part(s, '.', 2), '0'), 2), ''), '0'),
                    'E-', length(split_part(s, '.', 2)) - length(ltrim(split_part(s, '.', 2), '0')) + 1)""",
        """CREATE OR REPLACE MACRO sf_java_double(x) AS CASE
             WHEN x IS NULL THEN NULL
             WHEN x = 0 OR (abs(x) >= 0.001 AND abs(x) < 1e7) THEN CAST(x AS VARCHAR)
             ELSE concat(CASE WHEN x < 0 THEN '-' ELSE '' END, CASE
               WHEN contains(CAST(x AS VARCHAR), 'e') THEN sf_from_exponent(CAST(abs(x) AS VARCHAR))
               WHEN abs(x) >= 1e7 THEN sf_from_large(CAST(abs(x) AS VARCHAR))
               ELSE sf_from_small(CAST(abs(x) AS VARCHAR)) END)
           END""",
    )
