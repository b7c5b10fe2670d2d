"""Judges an answer of the local org by what its query means in Python."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cmp_to_key
from typing import Any

from . import meaning
from .queries import Case, Child, Order
from .world import Member, Row, World, records_of


def judge(world: World, case: Case) -> int:
    """Run the query and compare. Returns how many rows came; raises AssertionError where the two differ."""
    kind, size, got = records_of(world, case.soql, case.include_deleted)
    rows = [row for row in world.live(case.sobject, case.include_deleted) if _holds(case, row)]
    if case.count:
        expected = len(rows) if case.limit is None else min(len(rows), case.limit)
        assert (kind, size) == ("count", expected), f"{case.soql}: {size} instead of {expected}"
        return size
    assert size == len(got)
    if case.measures:
        _judge_groups(case, rows, got)
    else:
        _judge_rows(rows, got, case.order, case.limit, case.offset, lambda row: _record(world, case, row), case.soql)
    return size


def _holds(case: Case, row: Row) -> bool:
    return case.where is None or case.where.holds({**row, "__all": case.include_deleted})


def _judge_rows(
    rows: Sequence[Row],
    got: Sequence[Row],
    order: Sequence[Order],
    limit: int | None,
    offset: int,
    record: Callable[[Row], Row],
    soql: str,
) -> None:
    """Each record is right and comes once, in an order that the query allows."""
    ordered = sorted(rows, key=cmp_to_key(lambda one, other: _compare(order, one, other)))
    expected = ordered[offset:] if limit is None else ordered[offset : offset + limit]
    by_id = {row["Id"]: row for row in rows}
    ids = [each["Id"] for each in got]
    assert len(ids) == len(expected), f"{soql}: {len(ids)} rows instead of {len(expected)}"
    assert len(set(ids)) == len(ids), f"{soql}: a row came twice"
    assert set(ids) <= by_id.keys(), f"{soql}: {sorted(set(ids) - by_id.keys())[:3]} should not be there"
    assert [_keys(order, by_id[each]) for each in ids] == [_keys(order, row) for row in expected], f"{soql}: order"
    for each in got:
        assert each == record(by_id[each["Id"]]), f"{soql}: {each} instead of {record(by_id[each['Id']])}"


def _record(world: World, case: Case, row: Row) -> Row:
    written = _fields(world, case.sobject, case.members, row)
    for child in case.children:
        written[child.name] = _family(world, case, child, row)
    return written


def _fields(world: World, sobject: str, members: Sequence[Member], row: Row) -> Row:
    url = f"/services/data/v68.0/sobjects/{sobject}/{row['Id']}"
    written: Row = {"attributes": {"type": sobject, "url": url}}
    for member in members:
        _put(world, sobject, written, row, member.path.split("."), member.read(row))
    return written


def _put(world: World, sobject: str, written: Row, row: Row, path: list[str], value: Any) -> None:
    name, *rest = path
    if not rest:
        written[name] = meaning.on_the_wire(value)
        return
    reference, parent = next((ref, to) for rel, ref, to in world.parents(sobject) if rel == name)
    found = world.by_id.get(row[reference])
    if found is None:
        written[name] = None
        return
    inner = written.setdefault(name, _fields(world, parent, (), found[1]))
    _put(world, parent, inner, found[1], rest, value)


def _family(world: World, case: Case, child: Child, row: Row) -> Row | None:
    rows = [each for each in world.live(child.sobject, case.include_deleted) if each[child.reference] == row["Id"]]
    rows = [each for each in rows if child.where is None or child.where.holds(each)]
    rows.sort(key=cmp_to_key(lambda one, other: _compare(child.order, one, other)))
    rows = rows if child.limit is None else rows[: child.limit]
    records = [_fields(world, child.sobject, child.members, each) for each in rows]
    return {"totalSize": len(records), "done": True, "records": records} if records else None


def _judge_groups(case: Case, rows: Sequence[Row], got: Sequence[Row]) -> None:
    groups: dict[tuple[Any, ...], list[Row]] = {} if case.groups else {(): list(rows)}
    for row in rows if case.groups else ():
        groups.setdefault(tuple(group.read(row) for group in case.groups), []).append(row)
    kept = [found for found in groups.values() if case.having is None or case.having.holds(found)]
    kept.sort(key=cmp_to_key(lambda one, other: _compare(case.order, one, other)))
    expected = kept if case.limit is None else kept[: case.limit]
    assert len(got) == len(expected), f"{case.soql}: {len(got)} groups instead of {len(expected)}"
    answers = [{m.name: meaning.on_the_wire(m.value(found)) for m in case.measures} for found in kept]
    left = list(zip(answers, kept))
    for place, each in enumerate(got):
        values = {name: value for name, value in each.items() if name != "attributes"}
        match = next((pair for pair in left if _alike(values, pair[0])), None)
        assert match is not None, f"{case.soql}: {values} is no group; expected such as {answers[:3]}"
        keys = _keys(case.order, match[1])
        assert keys == _keys(case.order, expected[place]), f"{case.soql}: order of groups"
        left.remove(match)


def _alike(one: Row, other: Row) -> bool:
    return list(one) == list(other) and all(_same(value, other[name]) for name, value in one.items())


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-3)
    return type(one) is type(other) and bool(one == other)


def _keys(order: Sequence[Order], row: Any) -> list[Any]:
    return [each.key(row) for each in order]


def _compare(order: Sequence[Order], one: Any, other: Any) -> int:
    for each in order:
        left, right = each.key(one), each.key(other)
        if left == right:
            continue
        if left is None or right is None:
            return (1 if left is None else -1) * (1 if each.nulls_last else -1)
        return (-1 if left < right else 1) * (-1 if each.descending else 1)
    return 0
