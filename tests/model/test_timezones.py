"""Which time zone a person meant."""

from __future__ import annotations

import pytest

from opsctl.model.timezones import near_zones


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("Asia/Calcuta", ["Asia/Kolkata"]),
        ("Calcutta", ["Asia/Kolkata"]),
        ("asia/kolkata", ["Asia/Kolkata"]),
        ("IST", ["Asia/Kolkata"]),
        ("New York", ["America/New_York"]),
        ("Europe/Berln", ["Europe/Berlin"]),
        ("Asia/Katmandhu", ["Asia/Kathmandu"]),
        ("Asia", []),
        ("GMT+5:30", []),
        ("", []),
        ("x" * 5000, []),
    ],
)
def test_the_zone_that_was_meant_by_its_name_of_today(word: str, meant: list[str]) -> None:
    assert near_zones(word) == meant
