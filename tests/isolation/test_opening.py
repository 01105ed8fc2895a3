"""A host that is cut off lets others in for a time: it closes itself, or is settled, and nothing else passes meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from opsctl.errors import NotConverged
from opsctl.isolation.nftables import Nftables
from opsctl.model.isolation import Order, opening
from tests.isolation.beds import HELD, nftables
from tests.lab.isolation import Lab, reachable
from tests.lab.waiting import until

pytestmark = [
    pytest.mark.lab,
    pytest.mark.as_root("network namespaces need root"),
    pytest.mark.xdist_group("isolation"),
]


@pytest.fixture
def h0(isolation_lab: Lab) -> Iterator[Nftables]:
    """Cut off, permanently."""
    driver = nftables(isolation_lab)
    driver.load(HELD, driver.observe())
    driver.observe()
    yield driver
    driver.release()
    driver.close()


def _opened(lab: Lab, seconds: float) -> Order:
    outside = lab.hosts["outside"]
    return replace(HELD, opened=(opening(f"in:{outside.address}:22"), opening(f"in:[{outside.address6}]:22")), open_for=seconds)


def _reach(lab: Lab, space: str = "outside") -> int:
    """Over how many of IPv4 and IPv6 the sshd of h0 is reached from there."""
    host = lab.hosts["h0"]
    return len(reachable(lab, space, [(host.address, 22), (host.address6, 22)]))


def test_what_is_opened_for_a_time_closes_itself_and_the_host_stays_cut_off(isolation_lab: Lab, h0: Nftables) -> None:
    sealed = h0.observe().seal
    h0.load(_opened(isolation_lab, 3), h0.observe())
    stand = h0.observe()
    assert stand.standing == "isolated" and stand.left is None and stand.open_left and 0 < stand.open_left <= 3.5
    assert len(stand.opened) == 2
    assert (_reach(isolation_lab), _reach(isolation_lab, "h1")) == (2, 0)
    opened = stand.seal
    until(lambda: h0.observe().open_left == 0)
    assert _reach(isolation_lab) == 0
    stand = h0.observe()
    assert (stand.standing, stand.seal) == ("isolated", opened)
    with pytest.raises(NotConverged, match="had closed itself"):
        h0.settle(replace(HELD, allow=_opened(isolation_lab, 3).opened), stand)
    assert _reach(isolation_lab) == 0
    h0.load(HELD, h0.observe())
    assert (h0.observe().seal, h0.observe().open_left) == (sealed, None)


def test_what_is_settled_stays_open_and_a_settled_host_looks_as_if_cut_off_so(isolation_lab: Lab, h0: Nftables) -> None:
    order = _opened(isolation_lab, 60)
    settled = replace(HELD, allow=order.opened)
    h0.load(order, h0.observe())
    h0.settle(settled, h0.observe())
    stand = h0.observe()
    assert (stand.standing, stand.digest, stand.open_left, stand.opened) == ("isolated", settled.digest, None, ())
    assert _reach(isolation_lab) == 2
    h0.load(HELD, h0.observe())
    assert _reach(isolation_lab) == 0
