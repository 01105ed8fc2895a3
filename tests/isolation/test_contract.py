"""What every driver promises, on the real thing. A new driver is finished when it is in BEDS and these pass."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from opsctl.errors import NotConverged, SafetyRefusal
from opsctl.model.isolation import Order
from tests.isolation.beds import BEDS, HELD, MARK, ORDER, OTHER, Bed
from tests.lab.isolation import Lab
from tests.lab.waiting import until

pytestmark = [
    pytest.mark.lab,
    pytest.mark.as_root("network namespaces need root"),
    pytest.mark.xdist_group("isolation"),
]


#: Other tests log in by IPv6 and cut off this machine; here all promises are tried in these ways.
REPEATED = ("nftables-ipv6", "nftables-here")


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.full if name in REPEATED else ()) for name in BEDS])
def bed(request: pytest.FixtureRequest, isolation_lab: Lab) -> Iterator[Bed]:
    found = BEDS[request.param](isolation_lab)
    yield found
    found.close()


def _order(bed: Bed) -> Order:
    return ORDER if bed.driver().lifts_itself else HELD


def test_what_is_open_is_cut_off_confirmed_and_opened_again(bed: Bed) -> None:
    order, before = _order(bed), bed.rules()
    driver = bed.driver()
    stand = driver.observe()
    assert (stand.standing, stand.digest, stand.mark, stand.seal) == ("open", None, None, None) and bed.reach()
    driver.load(order, stand)
    assert not bed.reach()
    driver.confirm()
    for each in (driver, bed.driver()):  # one who was not there when it was loaded sees the same
        stand = each.observe()
        assert (stand.standing, stand.left) == ("isolated", None)
        if stand.digest is not None:
            assert (stand.digest, stand.mark) == (order.digest, MARK)
    assert not bed.reach()
    driver.release()
    assert bed.driver().observe().standing == "open" and bed.reach()
    driver.release()
    assert bed.rules() == before


def test_promise_5_what_nobody_confirms_lifts_itself_and_a_late_confirm_changes_nothing(bed: Bed) -> None:
    driver = bed.driver()
    if not driver.lifts_itself:
        with pytest.raises(SafetyRefusal):
            driver.load(ORDER, driver.observe())
        assert driver.observe().standing == "open" and bed.reach()
        return
    driver.load(Order(MARK, seconds=1.0), driver.observe())
    stand = driver.observe()
    assert stand.standing == "lifted" or (stand.standing == "armed" and 0 < (stand.left or 0) <= 1.0)
    until(lambda: driver.observe().standing == "lifted")
    assert bed.reach()
    for late in (driver.confirm, lambda: driver.extend(60), bed.driver().confirm):
        with pytest.raises(NotConverged):
            late()
    assert driver.observe().standing == "lifted" and bed.reach()
    driver.release()
    assert driver.observe().standing == "open"


def test_an_end_is_moved_without_the_rules_being_others(bed: Bed) -> None:
    driver = bed.driver()
    if not driver.lifts_itself:
        driver.load(HELD, driver.observe())
        with pytest.raises(SafetyRefusal):
            driver.extend(600)
        assert driver.observe().standing == "isolated"
        driver.release()
        return
    driver.load(ORDER, driver.observe())
    armed = driver.observe()
    assert armed.standing == "armed" and 0 < (armed.left or 0) <= 60
    driver.extend(600)
    later = driver.observe()
    assert later.standing == "armed" and 60 < (later.left or 0) <= 600
    bed.driver().confirm()
    confirmed = driver.observe()
    assert confirmed.standing == "isolated"
    driver.extend(30)
    assert driver.observe().standing == "armed"
    assert armed.seal == later.seal == confirmed.seal
    driver.confirm()
    driver.release()


def test_loading_twice_and_over_another_leaves_one(bed: Bed) -> None:
    driver, order = bed.driver(), _order(bed)
    other = OTHER if driver.lifts_itself else Order(MARK, allow=OTHER.allow, seconds=None)
    driver.load(order, driver.observe())
    once = bed.rules()
    driver.load(order, driver.observe())
    assert sorted(bed.rules()) == sorted(once)  # elements of a set are in any order
    driver.load(other, driver.observe())
    driver.confirm()
    assert driver.observe().digest in (other.digest, None) and not bed.reach()
    driver.load(order, bed.driver().observe())
    assert driver.observe().digest in (order.digest, None)
    driver.release()
    assert driver.observe().standing == "open" and bed.reach()


def test_only_what_is_ours_differs(bed: Bed) -> None:
    before = bed.rules()
    driver = bed.driver()
    driver.load(HELD, driver.observe())
    assert bed.rules().startswith(before)
    driver.cut(HELD)
    driver.snapshot()
    driver.release()
    assert bed.rules() == before
