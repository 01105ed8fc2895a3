"""Durations and sizes, read and written."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opsctl.model.quantities import format_duration, format_size, parse_duration, parse_size, rough_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3d", 259_200),
        ("12h", 43_200),
        ("45m", 2_700),
        ("90s", 90),
        ("1d12h", 129_600),
        ("0s", 0),
        ("1h1s", 3_601),
    ],
)
def test_a_duration_is_read(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3",
        "d",
        "3 d",
        "3d ",
        "3D",
        "-3d",
        "1.5d",
        "12h1d",
        "3d3d",
        "3w",
        "३d",
        "99999d",
        "3d\n",
        "P3D",
        "1e3d",
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@settings(deadline=None, database=None)
@given(st.integers(0, 36_500 * 86_400))
def test_a_duration_comes_back_as_it_was(seconds: int) -> None:
    length = timedelta(seconds=seconds)
    assert parse_duration(format_duration(length)) == length


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (59, "59s"),
        (61, "1m1s"),
        (3_599, "59m59s"),
        (3_661, "1h1m"),
        (86_399, "23h59m"),
        (90_061, "1d1h"),
        (-90_061, "-1d1h"),
        (259_200, "3d"),
        (259_259, "3d"),
    ],
)
def test_a_rough_duration_has_two_units_at_most(seconds: int, text: str) -> None:
    assert rough_duration(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("512", 512),
        ("512B", 512),
        ("1KiB", 1024),
        ("10GiB", 10 * 2**30),
        ("1.5TiB", 3 * 2**39),
        ("10 GiB", 10 * 2**30),
    ],
)
def test_a_size_is_read(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize(
    "text", ["", "GiB", "10GB", "10gib", "-1", "1,5GiB", "1e3", "0x10", "10  GiB", "१GiB"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0B"),
        (1023, "1023B"),
        (1024, "1KiB"),
        (1536, "1.5KiB"),
        (2**20 - 1, "1MiB"),
        (2**40, "1TiB"),
        (5000 * 2**50, "5000PiB"),
        (-2048, "-2KiB"),
    ],
)
def test_a_size_is_written(count: int, text: str) -> None:
    assert format_size(count) == text


@settings(deadline=None, database=None)
@given(st.integers(0, 2**60))
def test_a_written_size_is_off_by_a_rounding_at_most(count: int) -> None:
    assert abs(parse_size(format_size(count)) - count) <= count * 0.05 + 1
