"""Which stretches are known: like sets of moments, whatever the order they were read in."""

from __future__ import annotations

import itertools

from factories import few_examples
from hypothesis import given
from hypothesis import strategies as st

from callframe.archive.coverage_ledger import STORED, CoverageLedger, shown, subtract, union
from callframe.timespan import TimeRange

END = 30
stretches = st.tuples(st.integers(0, END), st.integers(0, END)).map(lambda ends: (min(ends), max(ends)))
readings = st.lists(st.tuples(st.sampled_from([1, 2]), stretches, st.booleans(), st.integers(0, 9)), max_size=12)


def moments(parts: list[tuple[int, int]]) -> set[int]:
    return {moment for low, high in parts for moment in range(low, high)}


def noted(read: list[tuple[int, tuple[int, int], bool, int]]) -> CoverageLedger:
    known = CoverageLedger()
    for function_id, (low, high), complete, at in read:
        if complete:
            known.read(function_id, TimeRange(low, high), at)
        else:
            known.failed(function_id, TimeRange(low, high), f"reason {at}", at)
    return known


@few_examples
@given(st.lists(stretches))
def test_union_holds_the_same_moments_in_stretches_that_are_apart(parts: list[tuple[int, int]]) -> None:
    found = union(parts)
    assert moments(found) == moments(parts)
    assert all(one[1] < other[0] for one, other in itertools.pairwise(found))


@few_examples
@given(stretches, st.lists(stretches))
def test_subtract_leaves_the_moments_that_are_in_no_other(one: tuple[int, int], others: list[tuple[int, int]]) -> None:
    assert moments(subtract(one, union(others))) == moments([one]) - moments(others)


@few_examples
@given(readings)
def test_known_is_what_was_read_and_failed_is_what_was_tried_and_not_read(
    read: list[tuple[int, tuple[int, int], bool, int]],
) -> None:
    known = noted(read)
    for function_id in (1, 2):
        done = moments([part for one, part, complete, _ in read if one == function_id and complete])
        tried = moments([part for one, part, complete, _ in read if one == function_id and not complete])
        lacking = known.lacking(function_id, TimeRange(0, END))
        assert moments([(part.start_ms, part.end_ms) for part in lacking]) == set(range(END)) - done
        assert moments([one[:2] for one in known.failures.get(function_id, [])]) == tried - done


@few_examples
@given(readings, readings)
def test_two_syncs_note_the_same_whichever_is_first(
    one: list[tuple[int, tuple[int, int], bool, int]], other: list[tuple[int, tuple[int, int], bool, int]]
) -> None:
    found = []
    for first, second in ((one, other), (other, one)):
        known = noted(first)
        known.add(noted(second))
        found.append(known)
    assert found[0].complete == found[1].complete
    assert {key: moments([part[:2] for part in parts]) for key, parts in found[0].failures.items()} == {
        key: moments([part[:2] for part in parts]) for key, parts in found[1].failures.items()
    }


@few_examples
@given(readings)
def test_rows_of_the_table_give_back_what_was_noted(read: list[tuple[int, tuple[int, int], bool, int]]) -> None:
    known = noted([one for one in read if one[1][0] < one[1][1]])
    assert CoverageLedger.of(known.rows("p")) == known


def test_nothing_known_is_a_table_without_rows() -> None:
    assert CoverageLedger().rows("p").equals(STORED.empty_table())


def test_latest_reason_is_told() -> None:
    known = noted([(1, (0, 10), False, 3), (1, (5, 6), False, 7)])
    assert known.why(1, TimeRange(0, 10)) == "reason 7"
    assert known.why(1, TimeRange(6, 10)) == "reason 3"
    assert known.why(2, TimeRange(0, 10)) is None


def test_stretches_are_shown_in_a_few_words() -> None:
    hours = [TimeRange(k * 7_200_000, k * 7_200_000 + 3_600_000) for k in range(5)]
    assert shown(hours).endswith("1970-01-01T04:00:00.000Z to 1970-01-01T05:00:00.000Z, 2 more")
