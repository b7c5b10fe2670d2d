"""The picture of how objects refer to one another: as SVG for a page, and as Mermaid's source for Markdown.

Parents stand left of their children. Nothing is fetched and nothing runs: shapes, text, and titles that a pointer shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from airflow_sfcc.catalog.escaping import as_html
from airflow_sfcc.catalog.relations import Relation, relations_of
from airflow_sfcc.catalog.tables import Table

CAPTION = "Each line leads from an object to one that it refers to. Who created and last changed a record is left out."
MOST_MERMAID = 50_000
"""Characters that Mermaid draws, GitHub's too; of a longer text it shows an error (its setting maxTextSize)."""

_OF_EVERY_RECORD = frozenset({"CreatedById", "LastModifiedById"})
"""References that nearly all objects have, and that would hide the others."""

_WIDTH, _HEIGHT = 190, 46
_ACROSS, _DOWN = 290, 68
_MARGIN = 12
_MOST_IN_A_COLUMN = 14
_LONGEST_NAME = 26


@dataclass(frozen=True)
class _Place:
    """The upper left corner of an object's box."""

    x: int
    y: int


def mermaid(tables: Sequence[Table]) -> str:
    """The source of an entity-relationship diagram; empty where nothing refers to anything."""
    relations = _drawn(tables)
    if not relations:
        return ""
    return "\n".join(["erDiagram", *dict.fromkeys(map(_mermaid_line, relations))])


def _mermaid_line(relation: Relation) -> str:
    at_most_one = "|o" if relation.column.nullable else "||"
    return f'    "{relation.parent}" {at_most_one}--o{{ "{relation.child}" : "{relation.column.name}"'


def _drawn(tables: Sequence[Table]) -> list[Relation]:
    return [each for each in relations_of(tables) if each.column.name not in _OF_EVERY_RECORD]


def er_svg(tables: Sequence[Table]) -> str:
    """An SVG element; empty where nothing refers to anything. Objects that stand alone are not in it."""
    relations = _drawn(tables)
    if not relations:
        return ""
    labels = {table.sobject: table.label for table in tables}
    places = _places(relations)
    width = max(place.x for place in places.values()) + _WIDTH + _MARGIN
    height = max(place.y for place in places.values()) + _HEIGHT + _MARGIN
    lines = [
        f'<svg class="er" role="img" aria-labelledby="er-title" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" xmlns="http://www.w3.org/2000/svg">',
        '<title id="er-title">Which object refers to which; the same is told in the table of each object</title>',
        '<defs><marker id="er-end" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z"/></marker></defs>',
    ]
    for (child, parent), names in _bundled(relations).items():
        if child != parent:
            lines.append(_edge(places[child], places[parent], f"{child} → {parent}: {', '.join(names)}"))
    own = {child: names for (child, parent), names in _bundled(relations).items() if child == parent}
    lines += [_box(name, labels[name], place, own.get(name, [])) for name, place in places.items()]
    return "\n".join([*lines, "</svg>"])


def _bundled(relations: Sequence[Relation]) -> dict[tuple[str, str], list[str]]:
    """The fields by which one object refers to another."""
    found: dict[tuple[str, str], list[str]] = {}
    for relation in relations:
        found.setdefault((relation.child, relation.parent), []).append(relation.column.name)
    return found


def _places(relations: Sequence[Relation]) -> dict[str, _Place]:
    """Objects in columns by how many references lead away from them; columns that grow too long are broken."""
    parents: dict[str, set[str]] = {}
    for relation in relations:
        parents.setdefault(relation.child, set())
        parents.setdefault(relation.parent, set())
        if relation.child != relation.parent:
            parents[relation.child].add(relation.parent)
    places: dict[str, _Place] = {}
    for number, column in enumerate(_columns(_depths(parents), parents)):
        for row, name in enumerate(column):
            places[name] = _Place(_MARGIN + number * _ACROSS, _MARGIN + row * _DOWN + number % 2 * _DOWN // 2)
    return places


def _depths(parents: Mapping[str, set[str]]) -> dict[str, int]:
    """The longest way from each object to one that refers to nothing; where ways lead in a circle, it ends."""
    depths: dict[str, int] = {}
    under_way: list[str] = []
    for start in sorted(parents):
        stack = [(start, iter(sorted(parents[start])))]
        under_way.append(start)
        while stack:
            name, left = stack[-1]
            parent = next((each for each in left if each not in depths and each not in under_way), None)
            if parent is not None:
                under_way.append(parent)
                stack.append((parent, iter(sorted(parents[parent]))))
                continue
            stack.pop()
            under_way.remove(name)
            depths[name] = max((depths[each] + 1 for each in parents[name] if each in depths), default=0)
    return depths


def _columns(depths: Mapping[str, int], parents: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """The names of each column from top to bottom, each near those it refers to."""
    rows: dict[str, float] = {}
    for depth in range(max(depths.values()) + 1):
        names = [name for name in depths if depths[name] == depth]

        def near(name: str) -> tuple[float, str]:
            known = [rows[each] for each in parents[name] if each in rows]
            return (sum(known) / len(known) if known else 0.0), name

        names.sort(key=near)
        for first in range(0, len(names), _MOST_IN_A_COLUMN):
            column = names[first : first + _MOST_IN_A_COLUMN]
            rows.update({name: float(row) for row, name in enumerate(column)})
            yield column


def _edge(child: _Place, parent: _Place, title: str) -> str:
    from_y, to_y = child.y + _HEIGHT // 2, parent.y + _HEIGHT // 2
    if child.x > parent.x:
        start, end, bend = child.x, parent.x + _WIDTH, -60
        path = f"M{start},{from_y} C{start + bend},{from_y} {end - bend},{to_y} {end},{to_y}"
    else:  # in a circle, or side by side: around the right
        start, end = child.x + _WIDTH, parent.x + _WIDTH
        far = max(start, end) + 60
        path = f"M{start},{from_y} C{far},{from_y} {far},{to_y} {end},{to_y}"
    return f'<path class="edge" d="{path}" marker-end="url(#er-end)"><title>{as_html(title)}</title></path>'


def _box(name: str, label: str, place: _Place, own: Sequence[str]) -> str:
    also = f"; refers to itself by {', '.join(own)}" if own else ""
    mark = " ↺" if own else ""
    return (
        f'<a href="#{as_html(name)}"><title>{as_html(f"{label or name}{also}")}</title>'
        f'<rect x="{place.x}" y="{place.y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6"/>'
        f'<text class="name" x="{place.x + 10}" y="{place.y + 20}">{as_html(_short(name))}{mark}</text>'
        f'<text x="{place.x + 10}" y="{place.y + 37}">{as_html(_short(label))}</text></a>'
    )


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 1] + "…"
