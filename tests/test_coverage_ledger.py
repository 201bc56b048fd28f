"""The coverage ledger behaves like sets of times, in whatever order they are recorded."""

from __future__ import annotations

import itertools

from factories import few_examples
from hypothesis import given
from hypothesis import strategies as st

from callframe.archive.coverage_ledger import CoverageLedger, format_ranges, subtract, union
from callframe.archive.schema import COVERAGE
from callframe.timespan import TimeRange

Entry = tuple[int, tuple[int, int], bool, int]
"""Function id, time range, whether it was read, and when."""

END = 30
ranges = st.tuples(st.integers(0, END), st.integers(0, END)).map(lambda ends: (min(ends), max(ends)))
entries = st.lists(st.tuples(st.sampled_from([1, 2]), ranges, st.booleans(), st.integers(0, 9)), max_size=12)


def times_in(parts: list[tuple[int, int]]) -> set[int]:
    return {time for low, high in parts for time in range(low, high)}


def make_ledger(recorded: list[Entry]) -> CoverageLedger:
    ledger = CoverageLedger()
    for function_id, (low, high), complete, time_ms in recorded:
        if complete:
            ledger.add_complete(function_id, TimeRange(low, high), time_ms)
        else:
            ledger.add_failure(function_id, TimeRange(low, high), f"reason {time_ms}", time_ms)
    return ledger


@few_examples
@given(st.lists(ranges))
def test_union_contains_the_same_times_in_disjoint_ranges(parts: list[tuple[int, int]]) -> None:
    joined = union(parts)
    assert times_in(joined) == times_in(parts)
    assert all(first[1] < second[0] for first, second in itertools.pairwise(joined))


@few_examples
@given(ranges, st.lists(ranges))
def test_subtract_leaves_the_times_outside_of_all_others(
    window: tuple[int, int], others: list[tuple[int, int]]
) -> None:
    assert times_in(subtract(window, union(others))) == times_in([window]) - times_in(others)


@few_examples
@given(entries)
def test_ranges_are_missing_until_read_and_failed_if_only_tried(recorded: list[Entry]) -> None:
    ledger = make_ledger(recorded)
    for function_id in (1, 2):
        read = times_in([part for key, part, complete, _ in recorded if key == function_id and complete])
        tried = times_in([part for key, part, complete, _ in recorded if key == function_id and not complete])
        missing = ledger.missing(function_id, TimeRange(0, END))
        assert times_in([(part.start_ms, part.end_ms) for part in missing]) == set(range(END)) - read
        assert times_in([failure[:2] for failure in ledger.failures.get(function_id, [])]) == tried - read


@few_examples
@given(entries, entries)
def test_order_of_merged_ledgers_does_not_matter(one: list[Entry], other: list[Entry]) -> None:
    ledgers = []
    for first, second in ((one, other), (other, one)):
        ledger = make_ledger(first)
        ledger.merge(make_ledger(second))
        ledgers.append(ledger)
    failed = [{key: times_in([one[:2] for one in found]) for key, found in each.failures.items()} for each in ledgers]
    assert ledgers[0].complete == ledgers[1].complete
    assert failed[0] == failed[1]


@few_examples
@given(entries)
def test_rows_convert_back_to_the_same_ledger(recorded: list[Entry]) -> None:
    ledger = make_ledger([entry for entry in recorded if entry[1][0] < entry[1][1]])
    assert CoverageLedger.from_rows(ledger.to_rows("p")) == ledger


def test_range_that_ends_in_the_future_is_forgotten_as_far_as_it_can_be_read_again() -> None:
    ledger, minute_ms = CoverageLedger(), 60_000
    for function_id, end_ms in ((1, 100 * minute_ms), (2, 51 * minute_ms), (3, 50 * minute_ms)):
        ledger.add_complete(function_id, TimeRange(0, end_ms), end_ms)
    ledger.forget_future(50 * minute_ms, 10 * minute_ms)
    assert ledger.complete == {1: [(0, 10 * minute_ms)], 2: [(0, 50 * minute_ms)], 3: [(0, 50 * minute_ms)]}
    assert ledger.last_read_ms == 50 * minute_ms


def test_empty_ledger_has_no_rows() -> None:
    assert CoverageLedger().to_rows("p").equals(COVERAGE.empty_table())


def test_latest_failure_gives_the_reason() -> None:
    ledger = make_ledger([(1, (0, 10), False, 3), (1, (5, 6), False, 7)])
    assert ledger.failure_reasons(1, [TimeRange(0, 10)]) == {"reason 7"}
    assert ledger.failure_reasons(1, [TimeRange(5, 6), TimeRange(6, 10)]) == {"reason 7", "reason 3"}
    assert ledger.failure_reasons(2, [TimeRange(0, 10)]) == set()


def test_only_the_first_ranges_are_formatted() -> None:
    hours = [TimeRange(k * 7_200_000, k * 7_200_000 + 3_600_000) for k in range(5)]
    assert format_ranges(hours).endswith("1970-01-01T04:00:00.000Z to 1970-01-01T05:00:00.000Z, 2 more")


@few_examples
@given(entries, entries)
def test_what_was_forgotten_stays_missing_whatever_is_recorded_later(
    recorded: list[Entry], forgotten: list[Entry]
) -> None:
    ledger, other = make_ledger(recorded), CoverageLedger()
    for function_id, (start_ms, end_ms), _, time_ms in forgotten:
        other.forget(function_id, TimeRange(start_ms, end_ms), time_ms)
    ledger.merge(other)
    ledger.merge(make_ledger(recorded))
    for function_id in (1, 2):
        lost = times_in([part for key, part, _, _ in forgotten if key == function_id])
        assert not lost & times_in(ledger.complete.get(function_id, []))
        assert not lost & times_in([failure[:2] for failure in ledger.failures.get(function_id, [])])
        assert times_in(ledger.without_forgotten(function_id, [(0, END)])) == set(range(END)) - lost
    assert CoverageLedger.from_rows(ledger.to_rows("p")).forgotten == ledger.forgotten


def test_reason_says_when_a_range_was_forgotten() -> None:
    ledger = make_ledger([(1, (0, 10), True, 3)])
    ledger.forget(1, TimeRange(0, 5), 86_400_000)
    assert ledger.failure_reasons(1, ledger.missing(1, TimeRange(0, 10))) == {"forgotten on 1970-01-02"}
    assert ledger.extent == TimeRange(5, 10)
