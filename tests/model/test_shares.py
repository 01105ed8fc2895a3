"""Which share of the data is read back next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from opsctl.model.shares import count, next_shares, oldest_unread

START = datetime(2026, 1, 1, tzinfo=UTC)
MONTH = timedelta(days=30)


def record(day: float, *shares: int, total: int = 30, damaged: bool = False) -> dict[str, Any]:
    return {"time": (START + timedelta(days=day)).isoformat(), "shares": list(shares), "total": total,
            "damaged": damaged}


def test_a_share_for_each_day_of_the_term() -> None:
    assert count(MONTH) == 30
    assert count(timedelta(hours=5)) == 1


def test_the_first_reading_starts_at_one_and_goes_on_with_what_was_never_read() -> None:
    assert next_shares([], MONTH, START) == [1]
    assert next_shares([record(0, 1)], MONTH, START + timedelta(days=1)) == [2]


def test_a_machine_that_was_off_reads_as_many_as_it_missed() -> None:
    assert next_shares([record(0, 1)], MONTH, START + timedelta(days=5)) == [2, 3, 4, 5, 6]


def test_the_oldest_comes_first_again() -> None:
    records = [record(day, day + 1) for day in range(30)]
    assert next_shares(records, MONTH, START + timedelta(days=30)) == [1]


def test_a_reading_that_found_damage_is_repeated_and_holds_up_nothing() -> None:
    records = [record(0, 1, damaged=True)]
    assert next_shares(records, MONTH, START + timedelta(days=1)) == [1, 2]
    assert oldest_unread([*records, *(record(day, day + 1) for day in range(1, 30))], MONTH) is None
    assert next_shares([*records, record(1, 1)], MONTH, START + timedelta(days=2)) == [2]


def test_shares_of_another_division_tell_nothing() -> None:
    assert next_shares([record(0, 1, total=7)], MONTH, START + timedelta(days=1)) == [1]


def test_everything_was_read_since_the_oldest_share() -> None:
    assert oldest_unread([record(day, day + 1) for day in range(29)], MONTH) is None
    assert oldest_unread([record(day, day + 1) for day in range(30)], MONTH) == START


def test_who_looks_rarely_or_misses_a_night_reads_everything_within_the_term() -> None:
    for nights in ([*range(1, 26, 3), 29, 33], range(1, 90, 4), range(1, 90, 7), range(90)):
        records: list[dict[str, Any]] = []
        for day, following in pairwise(nights):
            records.append(record(day, *next_shares(records, MONTH, START + timedelta(days=day))))
            oldest = oldest_unread(records, MONTH)
            if following > 31:
                assert oldest is not None and START + timedelta(days=following) - oldest <= MONTH + timedelta(days=1)


@given(st.lists(st.floats(0.2, 12), min_size=70, max_size=90), st.integers(2, 40))
def test_everything_is_read_within_twice_the_term_however_rarely_someone_looks(gaps: list[float], days: int) -> None:
    term = timedelta(days=days)
    records: list[dict[str, Any]] = []
    now = START
    for gap in gaps:
        now += timedelta(days=gap)
        records.append({"time": now.isoformat(), "shares": next_shares(records, term, now), "total": count(term),
                        "damaged": False})
    if now - START > 2 * term + timedelta(days=24):
        oldest = oldest_unread(records, term)
        assert oldest is not None and now - oldest <= 2 * term + timedelta(days=24)
