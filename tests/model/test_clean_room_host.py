"""Which host can be set aside as a clean room."""

from __future__ import annotations

from typing import Any

import pytest

from opsctl.model.config_clean_room import room_mistakes

HOSTS = {"room-1": {"isolation": "nftables"}, "app-1": {"isolation": "nftables"}, "pc": {"isolation": "gateway", "os": "windows"}, "open": {}}


@pytest.mark.parametrize(("host", "said"), [
    ("room-1", ""), ("rom-1", "there is no host"), ("pc", "has to be a Linux host"), ("open", "that opsctl can cut off"),
    ("app-1", "is where uploads is in production"), (7, ""),
])
def test_only_a_host_of_its_own_that_can_be_cut_off_and_probed(host: Any, said: str) -> None:
    data = {"hosts": HOSTS, "sources": {"uploads": {"host": "app-1"}}, "clean_room": {"host": host}}
    found = [text for _, text in room_mistakes(data)]
    assert found == [] if not said else said in found[0]
