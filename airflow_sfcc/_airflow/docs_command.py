"""`airflow-sfcc docs`: the guides of the installed version, which are part of the package."""

from __future__ import annotations

import difflib
import re
import sys
from pathlib import Path

import click

PACKAGE = Path(__file__).resolve().parents[1]
FOLDERS = (PACKAGE / "_docs", PACKAGE.parent / "docs")
"""Where the guides are: in a wheel, and in a checkout."""
HEADING = re.compile(r"^(#+) (.+)$")


@click.command()
@click.argument("topic", required=False)
def docs(topic: str | None) -> None:
    """Print a guide, or one section of it.

    TOPIC is a guide (incremental), a section of one (run-as-user), or a place as errors name it
    (docs/salesforce-setup.md#run-as-user). Without one, the guides are listed.
    """
    guides = _guides()
    text = _found(guides, topic) if topic else _listed(guides)
    if sys.stdout.isatty() and topic:
        click.echo_via_pager(text)
    else:
        click.echo(text)


def _guides() -> dict[str, str]:
    """The text of each guide by its name, the index first."""
    folder = next((each for each in FOLDERS if (each / "index.md").exists()), None)
    if folder is None:
        raise click.ClickException("This installation has no guides. Install the package from a wheel or a checkout.")
    return {file.stem: file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.md"), key=_index_first)}


def _index_first(file: Path) -> tuple[bool, str]:
    return file.stem != "index", file.stem


def _listed(guides: dict[str, str]) -> str:
    width = max(map(len, guides))
    titles = {name: text.partition("\n")[0].lstrip("# ") for name, text in guides.items()}
    return "\n".join(f"{name:<{width}}  {title}" for name, title in titles.items())


def _found(guides: dict[str, str], topic: str) -> str:
    page, _, anchor = topic.rpartition("/")[2].partition("#")
    name = page.removesuffix(".md")
    if name in guides:
        found = _section(guides[name], anchor) if anchor else guides[name]
    else:
        found = next(filter(None, (_section(text, name) for text in guides.values())), None)
    if found is None:
        known = [*guides, *(each for text in guides.values() for each in _anchors(text))]
        near = difflib.get_close_matches(anchor or name, known, n=3)
        hint = f" Did you mean {', '.join(near)}?" if near else " `airflow-sfcc docs` lists the guides."
        raise click.UsageError(f"No guide and no section is called {topic!r}.{hint}")
    return found.strip()


def _anchors(text: str) -> list[str]:
    return [anchor for _, _, anchor in _headings(text)]


def _section(text: str, anchor: str) -> str | None:
    """From a heading to the next one of its level or a higher one."""
    lines = text.splitlines()
    headings = _headings(text)
    for position, (start, level, name) in enumerate(headings):
        if name == anchor:
            ends = (line for line, other, _ in headings[position + 1 :] if other <= level)
            return "\n".join(lines[start : next(ends, len(lines))])
    return None


def _headings(text: str) -> list[tuple[int, int, str]]:
    """(line, level, anchor) of each heading outside of code."""
    found = []
    in_code = False
    for number, line in enumerate(text.splitlines()):
        in_code ^= line.startswith("```")
        if not in_code and (match := HEADING.match(line)):
            anchor = re.sub(r"[^\w -]", "", match[2].lower()).replace(" ", "-")
            found.append((number, len(match[1]), anchor))
    return found
