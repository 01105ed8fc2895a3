"""What a person's word is worth and for how long, and which time servers a clock follows."""

from __future__ import annotations

from datetime import date

import pytest

from opsctl.model.readiness import CHANGED, EXPIRED, MISSING, OK, SAID, Item, Stand, instead, said, words_of
from opsctl.model.timekeeping import Kept, judge, parse
from opsctl.protocols.cert_in import protocol
from opsctl.protocols.readiness import items, time_servers

ITEM = Item("logs", "Logs are kept", "binding", ("S1 Direction (iv)",), True, "look at them")
WORD = words_of([{"item": "logs", "by": "asha", "on": "2026-10-01", "until": "2026-11-01"},
                 {"item": "logs", "by": "ravi", "on": "2026-12-01", "until": "2026-12-31", "note": "siem", "digest": "d"}])["logs"]
TODAY = date(2026, 12, 28)


def test_the_newest_word_counts_until_its_last_day_and_while_what_it_is_about_is_the_same() -> None:
    assert said(ITEM, None, TODAY).state == MISSING and "--until DATE" in said(ITEM, None, TODAY).hint
    assert said(ITEM, WORD, TODAY, "d").state == SAID and "ravi" in said(ITEM, WORD, TODAY, "d").seen
    assert said(ITEM, WORD, date(2026, 12, 31), "d").state == SAID and said(ITEM, WORD, date(2027, 1, 1), "d").state == EXPIRED
    assert said(ITEM, WORD, TODAY, "other").state == CHANGED


def test_what_a_machine_saw_needs_no_word_and_a_word_stands_in_only_while_it_holds() -> None:
    word = words_of([{"item": "logs", "by": "asha", "on": "2026-12-01", "until": "2026-12-31"}])["logs"]
    assert instead(Stand(ITEM, OK, "seen"), word, TODAY).state == OK
    bad = Stand(ITEM, MISSING, "follows pool.example.invalid", "do it")
    assert instead(bad, word, TODAY).state == SAID and "follows pool.example.invalid" in instead(bad, word, TODAY).seen
    assert instead(bad, word, date(2027, 1, 1)).state == EXPIRED and instead(bad, word, date(2027, 1, 1)).hint == "do it"
    assert instead(bad, None, TODAY) == bad


def test_every_item_names_a_source_of_the_protocol_or_is_ours() -> None:
    known = protocol()
    assert len({one.id for one in items()}) == len(items())
    for one in items():
        assert one.force in ("binding", "guideline", "practice", "design_default"), one
        assert all(source.split()[0] in known.sources for source in one.sources), one
        assert one.sources or one.force == "design_default", one
    assert set(time_servers()) == {"samay1.nic.in", "samay2.nic.in", "time.nplindia.org"}


# As chrony 4.3 and systemd 252 print it.
CHRONY = "chrony ^,?,10.0.0.9,0,0,377,4294967295,0.000000000,0.000000000,0.000000000\nchrony ^,*,{},2,6,377,33,0.000012,0.000012,0.0003\n"


@pytest.mark.parametrize(("printed", "kept", "fine", "seen"), [
    (CHRONY.format("samay1.nic.in"), Kept("samay1.nic.in", ()), True, "follows samay1.nic.in (NIC)"),
    (CHRONY.format("2.debian.pool.ntp.org"), Kept("2.debian.pool.ntp.org", ()), False, "none of NIC's or NPL's"),
    ("timesyncd time.nplindia.org\ntimesyncd-file [Time]\ntimesyncd-file NTP=time.nplindia.org samay2.nic.in\n",
     Kept("time.nplindia.org", ("time.nplindia.org", "samay2.nic.in")), True, "(NPL)"),
    ("timesyncd \nchrony-file # server samay1.nic.in\nchrony-file server samay2.nic.in iburst\n", Kept(None, ("samay2.nic.in",)), False, "follows none now"),
    ("timesyncd-file #NTP=\n", Kept(None, ()), False, "kept by neither"),
])
def test_the_server_that_a_clock_follows_is_told_from_one_that_only_stands_in_a_file(printed: str, kept: Kept, fine: bool, seen: str) -> None:
    assert parse(printed) == kept
    found, words = judge(kept, time_servers())
    assert found is fine and seen in words
