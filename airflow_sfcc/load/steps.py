"""Which extracts are loaded together, and how much of the history they need.

Extracts newer than everything loaded need only themselves. Late ones, and ones that were committed again, need the
history of the Ids they touch. A newer full extract replaces what the table holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from airflow_sfcc.load.model import Extract, Mode, Step


def next_step(extracts: Sequence[Extract], loaded: Mapping[str, int] | None, mode: Mode) -> Step | None:
    """What is to be loaded next; None when everything is. `extracts` are in the order in which they were read, `loaded` is None
    where there is no table yet: one that knows none of the extracts has loaded others, which are gone since."""
    counting = _counting(extracts, mode)
    if loaded is None or (mode == "current" and not loaded):
        return Step("base" if mode == "current" else "append", counting[:1])
    waiting = waiting_of(extracts, loaded, mode)
    if not waiting:
        return None
    newest = max(loaded.values(), default=-1)
    if mode == "current":
        return _step_to_current(counting, waiting, loaded, newest)
    return _step_in_order(counting, waiting, loaded, newest)


def waiting_of(extracts: Sequence[Extract], loaded: Mapping[str, int], mode: Mode) -> list[Extract]:
    """The extracts that count and are not loaded as they are now."""
    return [each for each in _counting(extracts, mode) if loaded.get(each.extract_id) != each.read_ms]


def _counting(extracts: Sequence[Extract], mode: Mode) -> tuple[Extract, ...]:
    return _since_the_newest_snapshot(extracts) if mode == "current" else tuple(extracts)


def _since_the_newest_snapshot(extracts: Sequence[Extract]) -> tuple[Extract, ...]:
    newest = max((each.read_ms for each in extracts if each.is_snapshot), default=0)
    return tuple(each for each in extracts if each.read_ms >= newest)


def _step_to_current(
    counting: tuple[Extract, ...], waiting: Sequence[Extract], loaded: Mapping[str, int], newest: int
) -> Step:
    snapshots = [each for each in waiting if each.is_snapshot]
    if snapshots:
        is_newer = all(each.read_ms > newest for each in snapshots)
        return Step("base", tuple(snapshots[-1:]) if is_newer else counting)
    if _is_late(waiting, loaded, newest):
        return Step("late", tuple(waiting), counting)
    return Step("append", tuple(waiting), _others(counting, waiting))


def _step_in_order(
    extracts: tuple[Extract, ...], waiting: Sequence[Extract], loaded: Mapping[str, int], newest: int
) -> Step:
    late = [each for each in waiting if _is_late([each], loaded, newest)]
    if late:
        later = [each for each in waiting if not _is_late([each], loaded, newest)]
        return Step("late", tuple(late), _others(extracts, later))
    if waiting[0].is_snapshot:
        return Step("snapshot", tuple(waiting[:1]))
    until = next((index for index, each in enumerate(waiting) if each.is_snapshot), len(waiting))
    return Step("append", tuple(waiting[:until]), _others(extracts, waiting))


def _is_late(waiting: Sequence[Extract], loaded: Mapping[str, int], newest: int) -> bool:
    return any(each.read_ms <= newest or each.extract_id in loaded for each in waiting)


def _others(extracts: Sequence[Extract], waiting: Sequence[Extract]) -> tuple[Extract, ...]:
    ids = {each.extract_id for each in waiting}
    return tuple(each for each in extracts if each.extract_id not in ids)
