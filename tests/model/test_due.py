"""When a backup is due."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from opsctl.model.due import due, overdue, words
from opsctl.model.snapshots import parse_time

NOW = datetime(2026, 12, 15, 2, 30, tzinfo=UTC)
THREE_DAYS = timedelta(days=3)


@pytest.mark.parametrize(("age", "is_due"), [
    (timedelta(0), False),
    (timedelta(days=2, hours=23, minutes=59, seconds=59), False),
    (THREE_DAYS, True),
    (timedelta(days=400), True),
    (timedelta(days=-30), False),
])
def test_due_exactly_after_the_term(age: timedelta, is_due: bool) -> None:
    assert (due(NOW - age, THREE_DAYS, NOW) is not None) == is_due


def test_what_never_ran_is_due() -> None:
    assert due(None, THREE_DAYS, NOW) == "never ran"
    assert overdue(None, THREE_DAYS, NOW) == "never ran"


def test_time_zones_and_the_hour_that_comes_twice_change_nothing() -> None:
    summer, winter = timezone(timedelta(hours=2)), timezone(timedelta(hours=1))
    first = datetime(2026, 10, 25, 2, 30, tzinfo=summer)
    second = datetime(2026, 10, 25, 2, 30, tzinfo=winter)
    assert due(first, timedelta(hours=1), second) is not None
    assert due(first, timedelta(hours=1), second - timedelta(seconds=1)) is None


@pytest.mark.parametrize(("newest", "due_at"), [
    ("2027-02-26T02:30:00+05:30", "2027-03-01T02:30:00+05:30"),
    ("2028-02-26T02:30:00+05:30", "2028-02-29T02:30:00+05:30"),  # a leap year has the day
    ("2028-02-29T02:30:00+05:30", "2028-03-03T02:30:00+05:30"),
    ("2026-12-30T02:30:00+05:30", "2027-01-02T02:30:00+05:30"),  # the 31st and the 1st are no term
    ("2026-10-24T02:30:00+02:00", "2026-10-27T01:30:00+01:00"),  # Berlin's clocks went back
    ("2027-03-27T02:30:00+01:00", "2027-03-30T03:30:00+02:00"),  # and forward
    ("2011-12-28T12:00:00-10:00", "2012-01-01T12:00:00+14:00"),  # Samoa had no 30th
    ("2026-12-12T02:30:00+05:30", "2026-12-14T21:00:00+00:00"),  # the machine was moved to another zone
])
def test_the_day_on_which_a_set_is_due(newest: str, due_at: str) -> None:
    moment = parse_time(due_at)
    assert due(parse_time(newest), THREE_DAYS, moment) is not None
    assert due(parse_time(newest), THREE_DAYS, moment - timedelta(seconds=1)) is None


@pytest.mark.parametrize("text", ["2027-02-32T02:30:00+05:30", "2027-02-29T02:30:00+05:30", "2027-02-28T24:30:00+00:00",
                                  "2027-02-28T02:30:00"])
def test_what_is_no_moment_is_never_taken_for_one(text: str) -> None:
    with pytest.raises(ValueError):
        parse_time(text)


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "UTC"])
def test_asked_every_hour_for_a_year_sets_are_three_days_apart(zone: str) -> None:
    """Moments of one zone, as Python's own arithmetic gets them wrong: by what the clock on the wall shows."""
    start = datetime(2027, 12, 30, 2, 44, tzinfo=UTC)
    taken: list[datetime] = []
    for hour in range(24 * 370):
        now = (start + timedelta(hours=hour)).astimezone(ZoneInfo(zone))
        if due(taken[-1] if taken else None, THREE_DAYS, now):
            taken.append(now)
            assert overdue(now, THREE_DAYS, now) is None
    moments = [moment.astimezone(UTC) for moment in taken]
    assert {later - earlier for earlier, later in itertools.pairwise(moments)} == {THREE_DAYS}
    assert len(taken) == 124


def test_in_one_zone_the_hour_that_comes_twice_is_an_hour() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    first = datetime(2026, 10, 25, 2, 30, tzinfo=berlin)
    second = first.replace(fold=1)
    assert due(first, timedelta(hours=1), second) is not None
    assert due(second, timedelta(hours=1), first) is None
    assert overdue(first, timedelta(minutes=40), second) is not None


def test_late_leaves_the_hourly_timer_its_hours() -> None:
    assert overdue(NOW - THREE_DAYS - timedelta(hours=5), THREE_DAYS, NOW) is None
    assert overdue(NOW - THREE_DAYS - timedelta(hours=7), THREE_DAYS, NOW) is not None
    assert overdue(NOW - timedelta(hours=1, minutes=20), timedelta(hours=1), NOW) is not None


@pytest.mark.parametrize(("span", "text"), [
    (timedelta(days=3), "3 days"), (timedelta(hours=30), "30 h"), (timedelta(minutes=5), "5 min"),
    (timedelta(seconds=9), "9 s"),
])
def test_words(span: timedelta, text: str) -> None:
    assert words(span) == text
