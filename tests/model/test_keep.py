"""Which sets stay, against calendars made by hand, and what holds of any calendar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsctl.model.config_keep import Keep
from opsctl.model.keep import kept

INDIA, BERLIN, UTC_ZONE = ZoneInfo("Asia/Kolkata"), ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")


def stay(keep: Keep, times: str, zone: ZoneInfo = UTC_ZONE) -> dict[str, str]:
    """Sets named after their times (``2028-02-29T12``), and why each that stays does."""
    sets = [(time, datetime.fromisoformat(time if len(time) > 13 else f"{time}:00")) for time in times.split()]
    return {name: ", ".join(why) for name, why in
            kept(keep, [(name, at if at.tzinfo else at.replace(tzinfo=zone)) for name, at in sets], zone).items()}


def test_the_newest_of_each_day_that_has_one() -> None:
    assert stay(Keep(daily=2), "2026-12-01T01 2026-12-01T20 2026-12-09T02 2026-12-09T23") == {
        "2026-12-09T23": "daily 1", "2026-12-01T20": "daily 2"}


def test_a_leap_day_is_a_day_and_ends_its_month() -> None:
    times = "2027-02-28T12 2028-02-28T12 2028-02-29T12 2028-03-01T12 2029-02-28T12"
    assert stay(Keep(daily=4), times) == {
        "2029-02-28T12": "daily 1", "2028-03-01T12": "daily 2", "2028-02-29T12": "daily 3", "2028-02-28T12": "daily 4"}
    assert stay(Keep(monthly=4), times) == {
        "2029-02-28T12": "monthly 1", "2028-03-01T12": "monthly 2", "2028-02-29T12": "monthly 3", "2027-02-28T12": "monthly 4"}
    assert stay(Keep(yearly=2), times) == {"2029-02-28T12": "yearly 1", "2028-03-01T12": "yearly 2"}


def test_weeks_run_from_monday_across_the_end_of_the_year() -> None:
    # 28 December 2026 is a Monday: week 53, which ends on Sunday, 3 January 2027. Then week 1 begins.
    times = "2026-12-27T12 2026-12-28T12 2026-12-31T12 2027-01-03T12 2027-01-04T12"
    assert stay(Keep(weekly=3), times) == {"2027-01-04T12": "weekly 1", "2027-01-03T12": "weekly 2", "2026-12-27T12": "weekly 3"}
    # 30 December 2024 belongs to week 1 of 2025, as 1 January does.
    assert stay(Keep(weekly=2), "2024-12-29T12 2024-12-30T12 2025-01-01T12") == {
        "2025-01-01T12": "weekly 1", "2024-12-29T12": "weekly 2"}


def test_the_hour_that_comes_twice_is_two_hours_of_one_day() -> None:
    times = "2026-10-25T02:10+02:00 2026-10-25T02:40+02:00 2026-10-25T02:10+01:00 2026-10-25T02:40+01:00"
    assert stay(Keep(hourly=9), times, BERLIN) == {
        "2026-10-25T02:40+01:00": "hourly 1", "2026-10-25T02:40+02:00": "hourly 2"}
    assert stay(Keep(daily=9), times, BERLIN) == {"2026-10-25T02:40+01:00": "daily 1"}
    assert len(stay(Keep(hourly=9), times, INDIA)) == 3, "05:40, 06:10, 06:40 and 07:10 there"


def test_the_hour_that_is_left_out() -> None:
    times = "2026-03-29T01:59+01:00 2026-03-29T03:00+02:00"
    assert stay(Keep(hourly=9), times, BERLIN) == {"2026-03-29T03:00+02:00": "hourly 1", "2026-03-29T01:59+01:00": "hourly 2"}


def test_a_day_is_one_of_the_organisations_zone() -> None:
    times = "2026-12-01T18:00+00:00 2026-12-01T19:00+00:00"  # 23:30 and 00:30 in India
    assert len(stay(Keep(daily=9), times, INDIA)) == 2
    assert len(stay(Keep(daily=9), times, UTC_ZONE)) == 1
    assert len(stay(Keep(monthly=9), "2026-11-30T18:29+00:00 2026-11-30T18:31+00:00", INDIA)) == 2


def test_a_zone_that_changed_its_date() -> None:
    # Samoa left 30 December 2011 out; Thursday was followed by Saturday.
    samoa = ZoneInfo("Pacific/Apia")
    times = "2011-12-30T09:59+00:00 2011-12-30T10:01+00:00"
    assert stay(Keep(daily=9), times, samoa) == {"2011-12-30T10:01+00:00": "daily 1", "2011-12-30T09:59+00:00": "daily 2"}


def test_rules_add_up_and_one_set_may_stay_for_several() -> None:
    times = "2026-10-31T12 2026-11-29T12 2026-11-30T12 2026-12-05T12 2026-12-06T12"
    assert stay(Keep(last=1, daily=2, weekly=2, monthly=3), times) == {
        "2026-12-06T12": "last 1, daily 1, weekly 1, monthly 1", "2026-12-05T12": "daily 2",
        "2026-11-30T12": "monthly 2", "2026-11-29T12": "weekly 2", "2026-10-31T12": "monthly 3"}


def test_within_counts_from_the_newest_set_and_from_no_clock() -> None:
    times = "2019-12-03T11 2019-12-03T12 2019-12-04T12 2019-12-06T12"
    assert list(stay(Keep(within=timedelta(days=3)), times)) == ["2019-12-06T12", "2019-12-04T12", "2019-12-03T12"]


def test_of_one_moment_the_one_that_was_stored_last() -> None:
    at = datetime(2026, 12, 1, tzinfo=UTC)
    assert kept(Keep(last=1), [("a", at), ("b", at)], UTC_ZONE) == {"b": ("last 1",)}


RULES = st.builds(
    Keep, **{word: st.none() | st.integers(1, 9) for word in ("last", *Keep.PERIODS)},
    within=st.none() | st.timedeltas(timedelta(hours=1), timedelta(days=400)),
)
TIMES = st.lists(st.datetimes(datetime(2026, 1, 1), datetime(2028, 12, 31), timezones=st.just(UTC)), unique=True, max_size=40)
ZONES = st.sampled_from([INDIA, BERLIN, UTC_ZONE, ZoneInfo("America/St_Johns"), ZoneInfo("Pacific/Apia")])


def chosen(keep: Keep, times: list[datetime], zone: ZoneInfo) -> set[datetime]:
    return {datetime.fromisoformat(name) for name in kept(keep, [(time.isoformat(), time) for time in times], zone)}


@given(keep=RULES, times=TIMES, zone=ZONES)
def test_never_fewer_than_asked_and_the_newest_always(keep: Keep, times: list[datetime], zone: ZoneInfo) -> None:
    found = chosen(keep, times, zone)
    asked = [getattr(keep, word) or 0 for word in ("last", *Keep.PERIODS)]
    days = len({time.astimezone(zone).date() for time in times})
    assert len(found) >= max(min(keep.last or 0, len(times)), min(keep.daily or 0, days))
    assert found <= set(times) and len(found) <= sum(asked) + (len(times) if keep.within else 0)
    if times and (any(asked) or keep.within):
        assert max(times) in found


@given(keep=RULES, times=TIMES, zone=ZONES)
def test_choosing_again_from_what_stays_takes_nothing_away(keep: Keep, times: list[datetime], zone: ZoneInfo) -> None:
    found = chosen(keep, times, zone)
    assert chosen(keep, sorted(found), zone) == found


@given(keep=RULES, times=TIMES, later=TIMES, zone=ZONES)
def test_what_went_once_is_never_wanted_back(keep: Keep, times: list[datetime], later: list[datetime], zone: ZoneInfo) -> None:
    newer = [time for time in later if not times or time > max(times)]
    gone = set(times) - chosen(keep, times, zone)
    assert not gone & chosen(keep, [*times, *newer], zone)


@pytest.mark.parametrize("text", ["{}", "{daily: 0}", "{daily: -1}", "{within: 3}", "{dayly: 3}"])
def test_a_rule_that_keeps_nothing_is_refused(text: str) -> None:
    import yaml

    from opsctl.model.config import Config
    from opsctl.model.part import NotValid

    raw = yaml.safe_load(f"""
repositories: {{main: {{url: /srv/store, password_file: /srv/password}}}}
sources: {{files: {{kind: paths, paths: [/srv/data]}}}}
backups: {{portal: {{sources: [files], repository: main, keep: {text}}}}}
""")
    try:
        Config.model_validate(raw)
    except NotValid:
        return
    assert [place for place, _ in Config.mistakes(raw)] == [("backups", "portal", "keep")]
