"""Receipts from paper against what was given out: cells as offices write them, ranges, and every kind of finding."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsctl.model.paper_cells import day, digits, harmless, paise, plain, receipt, rupees
from opsctl.model.paper_ranges import Range, Ranges, runs
from opsctl.model.paper_work import Entry, Last, Window, reconcile

WINDOW = Window("2026-12-21", "2026-12-30")


@pytest.mark.parametrize(("said", "amount"), [
    ("1,23,456.50", 12345650), ("₹ 1,234/-", 123400), ("Rs. 500", 50000), ("१,२३४.५", 123450), ("0.05", 5), ("1234567", 123456700), ("1,234,567.00", 123456700),
])
def test_amounts_are_read_exactly_as_offices_write_them(said: str, amount: int) -> None:
    assert paise(said) == amount


@pytest.mark.parametrize("said", ["12,34", "1.234", "1,2345", "-5", "five", "", "1e3", "1,23,456.5.0", "=5"])
def test_what_is_no_amount_is_refused(said: str) -> None:
    with pytest.raises(ValueError):
        paise(said)


@given(st.integers(0, 10**14))
def test_an_amount_is_the_same_after_writing_and_reading_it(amount: int) -> None:
    assert paise(rupees(amount)) == paise(plain(amount)) == amount
    assert Decimal(plain(amount)) * 100 == amount


@pytest.mark.parametrize("said", ["21/12/2026", "21-12-2026", "21.12.2026", "2026-12-21", "२१/१२/२०२६", "2026-12-21 00:00:00"])
def test_days_are_read_with_the_day_before_the_month(said: str) -> None:
    assert day(said) == "2026-12-21"


@pytest.mark.parametrize("said", ["12/21/2026", "31/02/2026", "21/12/26", "21 Dec", ""])
def test_what_is_no_day_is_refused(said: str) -> None:
    with pytest.raises(ValueError):
        day(said)


def test_receipts_with_and_without_their_series() -> None:
    assert [receipt(said) for said in ("000123", "ind-pt-000123", "PT/7", "रसीद"[:0] + "७")] == [("", 123), ("IND-PT", 123), ("PT", 7), ("", 7)]
    assert digits("१२३") == "123"


@given(st.text())
def test_no_cell_is_a_formula(text: str) -> None:
    found = harmless(text)
    assert found.lstrip()[:1] not in ("=", "+", "-", "@") or not found.strip()
    assert "\n" not in found and "\r" not in found and "\t" not in found


def test_a_number_is_had_by_one_body() -> None:
    found = Ranges([Range("indore", "PT", 1, 20), Range("rewa", "PT", 31, 40), Range("rewa", "WT", 1, 100)])
    for one in (Range("x", "PT", 20, 25), Range("x", "PT", 25, 31), Range("x", "PT", 1, 100), Range("x", "PT", 5, 6)):
        assert found.overlapping(one) is not None, one
    assert found.overlapping(Range("x", "PT", 21, 30)) is None and found.overlapping(Range("x", "ZZ", 1, 9)) is None
    assert (found.holder("PT", 35), found.holder("PT", 25)) == ("rewa", None)


@given(st.sets(st.integers(0, 50)))
def test_runs_hold_every_number_once(numbers: set[int]) -> None:
    found = list(runs(sorted(numbers)))
    assert [number for first, last in found for number in range(first, last + 1)] == sorted(numbers)
    assert all(found[place][1] + 1 < found[place + 1][0] for place in range(len(found) - 1))


def entry(number: int, *, series: str = "PT", day: str = "2026-12-22", payer: str = "", paise: int = 10000, line: int = 0) -> Entry:
    return Entry(series, number, day, "water", payer, "", paise, f"r.csv:{line or number}")


def ids(entries: list[Entry], *, last: dict[str, Last] | None = None, settled: dict[str, str] | None = None) -> list[str]:
    own = [Range("indore", "PT", 1, 10)]
    everybody = Ranges([*own, Range("rewa", "PT", 11, 20)])
    known = {"WT": Last(500, 503)} if last is None else last
    found = reconcile("indore", sorted(entries), own, everybody, known, WINDOW, settled or {})
    return [one.id for one in found.open]


WINDOW_DONE = [entry(number, series="WT", day="2026-12-20") for number in (501, 502, 503)]
ALL = [*(entry(number, payer=f"p{number}") for number in range(1, 11)), *WINDOW_DONE]


def test_what_was_entered_whole_leaves_nothing_open() -> None:
    assert ids(ALL) == []


@pytest.mark.parametrize(("entries", "wanted"), [
    ([one for one in ALL if one.number not in (3, 4, 6)], ["gap:PT:3-4", "gap:PT:6"]),
    ([one for one in ALL if one.number not in (8, 9, 10)], ["rest:PT:8-10"]),
    ([*ALL, entry(5, payer="p5", line=99)], ["double:PT:5:2"]),
    ([*ALL, entry(12, payer="q")], ["outside:PT:12"]),
    ([*ALL, entry(500, series="WT", day="2026-12-18")], ["there:WT:500"]),
    ([*ALL[1:], entry(1, payer="p1", day="2026-12-20")], ["early:PT:1"]),
    ([*ALL[1:], entry(1, payer="p1", day="2027-01-05")], ["late:PT:1"]),
    ([one for one in ALL if one.number not in (501, 503)], ["lost:WT:501", "lost:WT:503"]),
    ([*ALL[2:], entry(1, payer="Ram"), entry(2, payer="ram")], ["same:PT:1+PT:2:2"]),
])
def test_each_kind_of_trouble_is_found_and_nothing_else(entries: list[Entry], wanted: list[str]) -> None:
    assert ids(entries) == wanted


@pytest.mark.parametrize(("last", "wanted"), [
    ({}, "unknown:all"), ({"WT": Last(500, None)}, "unknown:WT:500"), ({"WT": Last(None, 503)}, "unknown:WT:restored"),
    ({"WT": Last(510, 503)}, "unknown:WT:510-503"),
])
def test_what_is_not_known_of_the_lost_window_is_said(last: dict[str, Last], wanted: str) -> None:
    assert wanted in ids(ALL[:10], last=last)


def test_a_note_settles_what_it_was_written_for_and_nothing_that_changed_since() -> None:
    short = [one for one in ALL if one.number not in (3, 4)]
    assert ids(short, settled={"gap:PT:3-4": "spoiled (asha)"}) == []
    assert ids([one for one in short if one.number != 5], settled={"gap:PT:3-4": "spoiled (asha)"}) == ["gap:PT:3-5"]


def test_sums_count_each_number_once_and_tell_what_is_beyond() -> None:
    found = reconcile("indore", sorted([*ALL, entry(5, line=99, payer="z", paise=12345)]), [Range("indore", "PT", 1, 10)], Ranges(), {"WT": Last(500, 503)}, WINDOW, {})
    [sums] = found.sums
    assert (sums.count, sums.paise, sums.double_count, sums.double_paise) == (13, 130000, 1, 12345)
    assert found.again == 3 and found.entered == 14
    assert "different amounts (100.00, 123.45)" in next(one.text for one in found.findings if one.kind == "double")


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(1, 20), st.integers(20, 40))
def test_whatever_is_entered_every_number_is_told_of_once(numbers: list[int], first: int, last: int) -> None:
    found = reconcile("indore", sorted(entry(number, line=place) for place, number in enumerate(numbers)), [Range("indore", "PT", first, last)], Ranges(),
                      {"WT": Last(5, 5)}, WINDOW, {})
    there = set(numbers)
    assert found.counted("gap", "rest") == sum(number not in there for number in range(first, last + 1))
    assert found.counted("double") == len(numbers) - len(there)
    assert found.counted("outside") == sum(not first <= number <= last for number in there)
    assert found.sums == () if not numbers else found.sums[0].count == len(there)


def test_a_number_typed_with_nine_digits_too_many_takes_no_longer() -> None:
    found = reconcile("indore", [entry(1), entry(10**12 - 1)], [Range("indore", "PT", 1, 10**12 - 1)], Ranges(), {"WT": Last(1, 10**12 - 1)}, WINDOW, {})
    assert [one.id for one in found.open] == [f"gap:PT:2-{10**12 - 2}", f"lost:WT:2-{10**12 - 1}"]
