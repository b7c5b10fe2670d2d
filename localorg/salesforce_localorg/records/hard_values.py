"""The values that break clients. Every one of them has been seen in real orgs or is the edge of a type."""

from __future__ import annotations

from decimal import Decimal

TEXTS: tuple[str, ...] = (
    'She said "hello"',
    '"',
    '""',
    'ends with "quote"',
    "comma, semicolon; tab\there",
    "line one\nline two",
    "line one\r\nline two",
    "line one\rline two",
    "\n",
    "ends with newline\n",
    'quote"\nnewline,comma',
    "nul\0inside",
    "\0",
    "NA",
    "N/A",
    "#N/A",
    "NULL",
    "null",
    "None",
    "nan",
    "NaN",
    "undefined",
    "true",
    "FALSE",
    " leading space",
    "trailing space ",
    "emoji \U0001f600\U0001f469\u200d\U0001f680",
    "\U0001d54f astral \U00020bb7",
    "e\u0301 combining, \u00e9 composed",
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "\u202eright to left\u202c",
    "separators \u2028 and \u2029",
    "next line \u0085 here",
    "no-break\u00a0space, zero\u200bwidth, bom\ufeff",
    "back\\slash \\n \\N",
    "\\N",
    "=1+1",
    "@SUM(A1:A9)",
    "-",
    "'single' quotes",
    "100% _under_ *star*",
    "007",
    "1e5",
    "12345678901234567890",
    "0x1F",
    "2024-02-30",
    "2024-01-01T00:00:00Z",
    "\u65e5\u672c\u8a9e\u30c6\u30ad\u30b9\u30c8",
    "stra\u00dfe \u0130stanbul \u01c5",
    "{'json': [1, 2]}",
    "<b>&amp;</b>",
    "|`^;\t",
)

NUMBERS: tuple[float, ...] = (
    0.0,
    -0.0,
    5.0,
    -1.0,
    16147805824397.0,
    90000000.0,
    1e7,
    9999999.0,
    9999999.99,
    0.001,
    0.0001,
    -0.00025,
    1e-7,
    123456789012345.67,
    99999999999999.99,
    999999999999999.0,
    -90000000.5,
    0.1 + 0.2,
    0.1,
    200.0,
    100.0,
    33.33,
    0.01,
    -16147805824397.0,
)

DATES: tuple[str, ...] = (
    "1700-01-01",
    "4000-12-31",
    "2024-02-29",
    "2000-02-29",
    "1900-03-01",
    "1970-01-01",
    "1582-10-15",
)

DATETIMES: tuple[str, ...] = (
    "1700-01-01 00:00:00.000",
    "4000-12-31 23:59:59.000",
    "2024-02-29 23:59:59.999",
    "1970-01-01 00:00:00.000",
    "1969-12-31 23:59:59.999",
    "2025-03-30 01:30:00.001",
    "2038-01-19 03:14:08.000",
)

TIMES: tuple[str, ...] = ("00:00:00.000", "23:59:59.999", "12:30:00.000", "01:02:03.004", "00:00:00.001")

LONG_TEXT_UNIT = 'A long "text", with commas;\nlines and caf\u00e9s \U0001f4c8. '
LONG_TEXT_LENGTH = 100_100  # units are not cut, so this leaves at least 100,000
LONG_TEXT_ROWS = (5, 1999, 3999)


def texts_within(length: int) -> list[str]:
    """The texts that fit a field of this length."""
    return [text for text in TEXTS if utf16_length(text) <= length]


def numbers_within(precision: int, scale: int) -> list[float]:
    """The numbers that a field of this precision (digits in all) and scale (digits behind the point) holds exactly."""
    return [number for number in NUMBERS if _fits(number, precision, scale)]


def utf16_length(text: str) -> int:
    """How long Salesforce says `text` is: an astral character counts twice."""
    return len(text.encode("utf-16-le")) // 2


def _fits(number: float, precision: int, scale: int) -> bool:
    exact = Decimal(repr(number)).normalize()
    digits_behind_point = max(0, -int(exact.as_tuple().exponent))
    return digits_behind_point <= scale and len(str(abs(int(exact)))) <= precision - scale
