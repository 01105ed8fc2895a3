"""When a backup is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from opsctl.model.due import due, overdue, words

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
