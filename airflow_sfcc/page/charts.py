"""Charts as SVG, made on the server: no script, no other host. Each has its text: a title per mark and a label for the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 600, 120
_LEFT, _BOTTOM, _TOP = 56, 18, 8


@dataclass(frozen=True)
class Point:
    """One night of a chart: its label, its value (None: nothing to show), the value in words, and a CSS class."""

    label: str
    value: float | None
    text: str
    css: str = ""


@dataclass(frozen=True)
class Chart:
    title: str
    svg: Markup


def bars(title: str, points: Sequence[Point], top: str) -> Chart:
    """A bar per night, from zero. `top` is the largest value in words."""
    known = [each for each in points if each.value is not None]
    largest = max((each.value or 0.0 for each in known), default=0.0) or 1.0
    step = (WIDTH - _LEFT) / max(1, len(points))
    room = HEIGHT - _BOTTOM - _TOP
    marks = []
    for index, each in enumerate(points):
        if each.value is None:
            continue
        height = max(1.0, room * each.value / largest)
        marks.append(
            Markup(
                '<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}: {}</title></rect>'
            ).format(
                each.css,
                _LEFT + index * step,
                HEIGHT - _BOTTOM - height,
                max(1.0, step - 1),
                height,
                each.label,
                each.text,
            )
        )
    label = f"{title}: " + (
        f"{known[0].text} on {known[0].label}, {known[-1].text} on {known[-1].label}" if known else "nothing"
    )
    return Chart(title, _frame(label, points, top, Markup("").join(marks)))


def _frame(label: str, points: Sequence[Point], top: str, marks: Markup) -> Markup:
    """The axes: the largest value, zero, and the first and last night."""
    base = HEIGHT - _BOTTOM
    ends = (
        Markup('<text x="{}" y="{}">{}</text><text x="{}" y="{}" text-anchor="end">{}</text>').format(
            _LEFT, HEIGHT - 4, points[0].label, WIDTH, HEIGHT - 4, points[-1].label
        )
        if points
        else Markup("")
    )
    return Markup(
        '<svg class="chart" viewBox="0 0 {w} {h}" role="img" aria-label="{label}">'
        '<line x1="{left}" x2="{w}" y1="{base}" y2="{base}"/><line x1="{left}" x2="{w}" y1="{top_y}" y2="{top_y}"/>'
        '<text x="{label_x}" y="{label_y}" text-anchor="end">{top}</text>'
        '<text x="{label_x}" y="{base}" text-anchor="end">0</text>'
        "{ends}{marks}</svg>"
    ).format(
        w=WIDTH,
        h=HEIGHT,
        label=label,
        left=_LEFT,
        base=base,
        top_y=_TOP,
        label_x=_LEFT - 4,
        label_y=_TOP + 8,
        top=top,
        ends=ends,
        marks=marks,
    )


def gauge(label: str, used: float, forecast: float, ceiling: float) -> Markup:
    """A bar from 0 to 1: what is used, what tonight adds, and a line at the ceiling; all are shares."""

    def x(share: float) -> float:
        return 300 * max(0.0, min(1.0, share))

    return Markup(
        '<svg class="gauge" viewBox="0 0 300 14" role="img" aria-label="{label}"><rect class="all" width="300" height="14"/>'
        '<rect class="forecast{over}" width="{forecast:.1f}" height="14"/><rect class="used" width="{used:.1f}" height="14"/>'
        '<line x1="{ceiling:.1f}" x2="{ceiling:.1f}" y1="0" y2="14"/></svg>'
    ).format(
        label=label,
        over=" over" if forecast > ceiling else "",
        forecast=x(forecast),
        used=x(used),
        ceiling=x(ceiling),
    )
