"""Text that others wrote, as text in HTML, in SVG and in Markdown: on one line, and nothing of it becomes markup."""

from __future__ import annotations

import re
from html import escape

_MARKUP = re.compile(r"[\\`*_\[\]|~$@]|(?<=www)\.|:(?=//)|^[#+\-=]|(?<=^\d)[.)]", re.I)
"""What Markdown would read as more than text, links that GitHub makes of addresses included."""

_NO_TEXT = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")
"""Breaks, and what XML has no place for."""


def one_line(text: str) -> str:
    return _NO_TEXT.sub(" ", text).strip()


def as_html(text: str) -> str:
    """For the content of elements, and of attributes in quotes."""
    return escape(one_line(text))


def as_markdown(text: str) -> str:
    """For paragraphs, headings and the cells of tables. No Jinja either, for which dbt searches Markdown among its models."""
    return _MARKUP.sub(r"\\\g<0>", escape(one_line(text), quote=False)).replace("{", "&#123;")
