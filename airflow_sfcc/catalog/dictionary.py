"""The data dictionary: one page of HTML and one of Markdown with the same content, for people.

Labels, help texts and the rest are text that others wrote: nothing of it becomes markup. The HTML loads nothing and runs
nothing; its policy says so to the browser.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from airflow_sfcc.catalog.er_picture import CAPTION, MOST_MERMAID, er_svg, mermaid
from airflow_sfcc.catalog.escaping import as_html, as_markdown
from airflow_sfcc.catalog.sentences import about, description, told
from airflow_sfcc.catalog.tables import Column, Table
from airflow_sfcc.wording import plural

TITLE = "Data dictionary"
_HEADINGS = ("Column", "Label", "Type", "Description")
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --link: light-dark(#0b5cad, #7db7f5); }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
a { color: var(--link); } h2 { margin-top: 2.5rem; } h2 code { font-size: .8em; font-weight: normal; }
table { border-collapse: collapse; width: 100%; } th, td { border-bottom: 1px solid var(--line); padding: .35rem .6rem;
text-align: left; vertical-align: top; } th { background: var(--soft); } td { overflow-wrap: anywhere; }
td:first-child { font-family: ui-monospace, monospace; } ul.objects { columns: 16rem; padding-left: 1.2rem; }
p.facts { opacity: .8; } details { margin-top: .3rem; } figure { margin: 1rem 0; overflow-x: auto; }
svg.er rect { fill: Canvas; stroke: currentColor; } svg.er text { fill: currentColor; font: 12px system-ui, sans-serif; }
svg.er text.name { font-weight: 600; font-size: 13px; } svg.er .edge { fill: none; stroke: currentColor; opacity: .55; }
svg.er .edge:hover, svg.er a:hover rect { stroke: var(--link); opacity: 1; stroke-width: 2; }
svg.er marker path { fill: currentColor; }
svg.er a { text-decoration: none; color: inherit; }
"""


def html(tables: Sequence[Table]) -> str:
    """The page as HTML, light or dark as the reader's system is."""
    picture = er_svg(tables)
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{TITLE}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{TITLE}</h1>",
            f"<p>{as_html(summary(tables))}</p>",
            f'<figure class="er">{picture}<figcaption>{CAPTION}</figcaption></figure>' if picture else "",
            '<nav aria-label="Objects"><ul class="objects">',
            *(f'<li><a href="#{as_html(each.sobject)}">{as_html(each.sobject)}</a></li>' for each in tables),
            "</ul></nav>",
            *(_html_table(each) for each in tables),
            "</body>\n</html>\n",
        ]
    )


def _html_table(table: Table) -> str:
    heads = "".join(f'<th scope="col">{each}</th>' for each in _HEADINGS)
    rows = "\n".join(_html_row(each) for each in table.columns)
    name = as_html(table.sobject)
    label = f"{as_html(table.label)} " if table.label and table.label != table.sobject else ""
    return (
        f'<section id="{name}">\n<h2>{label}<code>{name}</code></h2>\n<p>{as_html(about(table))}</p>\n'
        f'<p class="facts">{as_html(facts(table))}</p>\n'
        f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n</section>"
    )


def _html_row(column: Column) -> str:
    cells = [as_html(column.name), as_html(_label(column)), as_html(_type(column)), as_html(" ".join(_told(column)))]
    if values := list(_values(column)):
        cells[-1] += f"<details><summary>{_kind_of_values(column)}</summary>{as_html('; '.join(values))}</details>"
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def markdown(tables: Sequence[Table]) -> str:
    """The page as Markdown (GitHub's), with the picture as Mermaid."""
    picture = mermaid(tables)
    lines = [f"# {TITLE}", "", as_markdown(summary(tables)), ""]
    if len(picture) > MOST_MERMAID:
        references = plural(len(picture.splitlines()) - 1, "reference")
        lines += [f"{references} between objects are more than Mermaid draws: the picture is in dictionary.html.", ""]
    elif picture:
        lines += ["```mermaid", picture, "```", "", CAPTION, ""]
    for table in tables:
        lines += [f"## {as_markdown(table.sobject)}", "", as_markdown(about(table)), "", as_markdown(facts(table)), ""]
        lines += [f"| {' | '.join(_HEADINGS)} |", f"|{'---|' * len(_HEADINGS)}"]
        lines += [_markdown_row(column) for column in table.columns]
        lines.append("")
    return "\n".join(lines)


def _markdown_row(column: Column) -> str:
    sentences = _told(column)
    if values := list(_values(column)):
        sentences.append(f"{_kind_of_values(column)}: {'; '.join(values)}")
    cells = (column.name, _label(column), _type(column), " ".join(sentences))
    return f"| {' | '.join(map(as_markdown, cells))} |"


def summary(tables: Sequence[Table]) -> str:
    """What the page is about."""
    columns = sum(len(table.columns) for table in tables)
    undescribed = [table.sobject for table in tables if table.described is None]
    lacking = (
        f" {', '.join(undescribed)} landed before descriptions were kept, so of these there are names and types only."
        if undescribed
        else ""
    )
    return f"{plural(len(tables), 'object')} with {plural(columns, 'column')}, as extracted from Salesforce.{lacking}"


def facts(table: Table) -> str:
    """Where a table lies, and how it is kept."""
    newest = table.newest
    how = f"{newest['mode']} extracts"
    cursor = f" by {newest['cursor_field']}" if newest["mode"] == "incremental" and newest.get("cursor_field") else ""
    return f"In {table.root}, {table.file_format or 'no'} files, {how}{cursor}."


def _label(column: Column) -> str:
    return column.field.label if column.field else ""


def _type(column: Column) -> str:
    field = column.field
    size = ""
    if field and field.length and column.type == "string":
        size = f"({field.length})"
    elif field and field.precision and column.type != "string":
        size = f"({field.precision}, {field.scale})"
    file_type = "" if column.type == column.salesforce_type else f", {column.type}"
    return f"{column.salesforce_type}{size}{file_type}{'' if column.nullable else ', never null'}"


def _told(column: Column) -> list[str]:
    """All but the label, which has a column of its own, unless it is another object's."""
    is_elsewhere = column.field is None or not column.is_own
    return [description(column)] if is_elsewhere else told(column)


def _values(column: Column) -> Iterator[str]:
    for value in column.field.values if column.field else ():
        label = f" ({value.label})" if value.label else ""
        yield f"{value.value}{label}{'' if value.active else ', no longer chosen'}"


def _kind_of_values(column: Column) -> str:
    is_restricted = bool(column.field and column.field.restricted)
    count = plural(len(column.field.values if column.field else ()), "value")
    return f"{count}, {'no others' if is_restricted else 'others are possible'}"
