"""Which objects patterns select, and how tasks are shared out."""

from __future__ import annotations

import pytest

from airflow_sfcc.errors import OptionError
from airflow_sfcc.sync.model import Wanted
from airflow_sfcc.sync.patterns import Patterns
from airflow_sfcc.sync.schedule import batches_of

NAMES = ["Account", "AccountHistory", "Invoice__c", "Invoice__History", "npsp__Fund__c"]


@pytest.mark.parametrize(
    ("patterns", "selected"),
    [
        (["*"], NAMES),
        (["*", "!*History"], ["Account", "Invoice__c", "npsp__Fund__c"]),
        (["*", "!*History", "invoice__history"], ["Account", "Invoice__c", "Invoice__History", "npsp__Fund__c"]),
        (["Invoice__History", "!*History"], []),
        (["*__c", "! npsp__*"], ["Invoice__c"]),
        (["ACCOUNT"], ["Account"]),
    ],
)
def test_later_patterns_win(patterns: list[str], selected: list[str]) -> None:
    assert Patterns(patterns).selected(NAMES) == selected


@pytest.mark.parametrize("patterns", [[], ["!*History"], "*", [""], ["!"]])
def test_patterns_that_could_select_nothing_are_an_error(patterns: list[str]) -> None:
    with pytest.raises(OptionError, match="objects"):
        Patterns(patterns)


def test_a_name_that_matches_nothing_is_told_with_what_was_meant() -> None:
    (sentence,) = Patterns(["*", "Acount"]).without_effect(NAMES)
    assert "'Acount'" in sentence and "Did you mean Account" in sentence


def named(name: str, rows: int | None, *, overdue: bool = False) -> Wanted:
    return Wanted(name, "incremental", "ignore", rows, is_overdue=overdue)


def test_large_objects_have_tasks_of_their_own_and_small_ones_share() -> None:
    small = [named(f"S{number:02}", number) for number in range(40)]
    batches = batches_of([*small, named("Large", 50_000), named("Larger", 900_000)], 4)
    assert [batch.label for batch in batches] == ["Larger", "Large", *["10 objects"] * 4]
    assert sorted(each.name for batch in batches for each in batch.objects) == sorted(
        ["Large", "Larger", *(each.name for each in small)]
    )


def test_what_is_overdue_comes_first() -> None:
    batches = batches_of(
        [named("Large", 50_000), named("Late", 3, overdue=True), *[named(f"S{n}", 5_000) for n in range(4)]], 1
    )
    assert [batch.label for batch in batches] == ["5 objects", "Large"]
    assert batches[0].objects[0].name == "Late"


def test_small_tasks_have_about_the_same_to_do() -> None:
    sizes = [9_000, 8_000, 100, 90, 80, 70, 60, 50, 40, 30]
    batches = batches_of([named(f"S{size}", size) for size in sizes], 2)
    loads = [sum(each.rows or 0 for each in batch.objects) for batch in batches]
    assert max(loads) - min(loads) < 2_000


def test_there_is_always_a_task() -> None:
    (batch,) = batches_of([], 8)
    assert batch.objects == ()
