"""Who may sign is accepted once, and changed by two of those who were; everybody else's configuration counts for nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from opsctl import wiring
from opsctl.cli import doctor_people
from opsctl.engine.configuration import load_config
from opsctl.model.people import NAMESPACE, changes, fingerprint, request
from opsctl.model.two_people import signed_bytes
from opsctl.shells.local import LocalShell
from opsctl.shells.signing import Signer
from tests.approvals.site import Site, people_of, spools
from tests.approvals.test_approve import Elsewhere


def listed(site: Site, expect: int = 0) -> Any:
    return site.json("people", "list", expect=expect).result


def sign(site: Site, by: str, *more: str, key: str | None = None, expect: int = 0) -> Any:
    return site.json("--yes", "people", "change", "--by", by, "--key", str(site.keys / (key or by)), *more, expect=expect)


def test_the_first_acceptance_is_told_and_holds(site: Site) -> None:
    assert listed(site)["accepted"] is None
    said = site.json("run", "open", expect=4)
    assert any("PEOPLE ACCEPTED for the first time: asha, imran, ravi, usha may sign" in one for one in said.document["warnings"])
    assert listed(site)["accepted"] == listed(site)["fingerprint"]
    assert not any("ACCEPTED" in one for one in site.json("run", "open", expect=4).document["warnings"])
    assert [entry["how"] for entry in site.journal("people.accepted")] == ["first use"]


def test_other_people_than_were_accepted_approve_nothing_until_two_have_signed(site: Site) -> None:
    run = site.begin()
    site.approve(run, "asha")
    first = listed(site)["fingerprint"]
    site.write_people(imran="stranger")
    for said in (site.approve(run, "imran", key="stranger", expect=23), site.json("resume", run, expect=23),
                 site.json("run", "open", expect=23), site.json("people", "list", expect=23)):
        assert "imran has another key: ssh-ed25519" in said.errors[0]["message"]
    assert site.diary == ["before", "before"]
    # the new key signs for nothing, and neither does one of the old ones alone
    asked = site.json("people", "change", expect=4)
    assert "2 people of those who were accepted" in asked.errors[0]["message"]
    sign(site, "imran", key="stranger", expect=12)
    sign(site, "asha")
    sign(site, "asha", expect=23)
    sign(site, "nobody", expect=2)
    site("people", "change", expect=4)
    assert "imran has another key" in site.json("resume", run, expect=23).errors[0]["message"]
    sign(site, "imran")  # with the key that was accepted
    assert site.json("--dry-run", "people", "change", expect=0).result["applied"] is False
    done = site.json("people", "change", expect=0).result
    assert done["applied"] and done["signed_by"] == ["asha", "imran"]
    assert listed(site)["accepted"] == listed(site)["fingerprint"] != first
    site.approve(run, "imran", expect=12)
    site.approve(run, "imran", key="stranger")
    site("resume", run, expect=0)
    assert "accepted as they are" in site("people", "change", expect=0).out
    site("journal", "verify", expect=0)


@pytest.mark.parametrize(("how", "why"), [
    ({"more": "  meena: {name: Meena, roles: [restore-officer], ssh_key: KEY}\n"}, "meena is new, with restore-officer"),
    ({"without": "usha"}, "usha is no longer there"),
    ({"roles": "usha"}, "usha has other roles: restore-officer, not auditor"),
])
def test_every_change_of_who_may_what_is_named(site: Site, how: dict[str, str], why: str) -> None:
    run = site.begin()
    text = (site.etc / "opsctl.yaml").read_text()
    stranger = (site.keys / "stranger.pub").read_text().strip()
    lines = [line for line in text.splitlines(keepends=True) if f"  {how.get('without')}:" not in line]
    text = "".join(line.replace("[auditor]", "[restore-officer]") if "roles" in how else line for line in lines)
    site.configure(text + how.get("more", "").replace("KEY", stranger))
    assert why in site.json("resume", run, expect=23).errors[0]["message"]


def test_what_says_nothing_of_who_may_sign_may_change(site: Site) -> None:
    run = site.begin()
    text = (site.etc / "opsctl.yaml").read_text()
    site.configure(text.replace("roles: [auditor]", 'phone: "+91 755 1234", email: usha@example.invalid, roles: [auditor]')
                   .replace(" usha,", " usha@desk,"))
    site.approve(run, "asha")
    site.approve(run, "imran")
    site("resume", run, expect=0)


def test_a_change_is_signed_on_another_machine_and_not_changed_on_the_way(site: Site, tmp_path: Path) -> None:
    site.begin()
    site.write_people(imran="stranger")
    there = Elsewhere(tmp_path / "there", site.keys)
    file = tmp_path / "change.json"
    site("people", "change", "--file", str(file), expect=4)
    shown = there("--yes", "people", "change", "--file", str(file), "--by", "asha", "--key", str(there.keys / "asha"), expect=0)
    assert "imran has another key" in shown.err
    there("--yes", "people", "change", "--file", str(file), "--by", "usha", "--key", str(there.keys / "stranger"), expect=12)
    there("--yes", "people", "change", "--file", str(file), "--by", "usha", "--key", str(there.keys / "usha"), expect=0)
    kept = file.read_text()
    whole = json.loads(kept)

    def refused(code: int, **changed: Any) -> str:
        file.write_text(json.dumps({**whole, "request": {**whole["request"], **changed}}))
        return str(site.json("people", "change", "--file", str(file), expect=code).errors[0]["message"])

    assert "does not hold" in refused(22, nonce="0" * 32)
    assert "no time of ours" in refused(23, expires="2027-12-12T02:30:00+05:30")
    assert "are not the ones that this request would replace" in refused(23, old={})
    assert "has other people than this request" in refused(23, new={})
    assert "no request" in refused(22, new=[])
    file.write_text(kept)
    site.at("2026-12-13T02:31:00+05:30")
    assert "was over" in site.json("people", "change", "--file", str(file), expect=23).errors[0]["message"]
    site.at("2026-12-12T20:31:00+05:30")
    assert site.json("people", "change", "--file", str(file), expect=0).result["signed_by"] == ["asha", "usha"]
    # a request that was carried out is none for later people
    site.write_people(imran="usha")
    file.write_text(kept)
    site("people", "change", "--file", str(file), expect=23)


def test_a_machine_that_lost_its_state_accepts_them_by_the_fingerprint_of_the_kit(site: Site) -> None:
    site.begin()
    kit = listed(site)["fingerprint"]
    site.forget()
    site.write_people(imran="stranger")
    assert "not SHA256:" in site.json("people", "accept", kit, expect=12).errors[0]["message"]
    assert listed(site)["accepted"] is None
    site.write_people()
    site("--dry-run", "people", "accept", kit, expect=0)
    assert listed(site)["accepted"] is None
    site("people", "accept", kit, expect=0)
    site("people", "accept", kit, expect=0)
    assert listed(site)["accepted"] == kit
    site.write_people(imran="stranger")
    assert "others were accepted" in site.json("people", "accept", listed(site, 23)["fingerprint"], expect=23).errors[0]["message"]


def test_the_journal_tells_who_was_accepted_where_the_file_is_gone_or_changed_and_the_file_where_the_journal_is_gone(site: Site) -> None:
    site.begin()
    pinned = site.state / "people.json"
    whole = pinned.read_text()
    site.write_people(imran="stranger")
    pinned.unlink()
    site("people", "list", expect=23)
    pinned.write_text(whole.replace("ssh-ed25519", "ssh-rsa"))
    site("people", "list", expect=23)
    pinned.write_text(whole)
    for path in (site.state / "journal").iterdir():
        path.unlink()
    site("people", "list", expect=23)
    pinned.write_text("[]")
    assert "cannot be read" in site.json("people", "list", expect=22).errors[0]["message"]


def test_where_only_one_can_sign_that_one_does(site: Site) -> None:
    text = (site.etc / "opsctl.yaml").read_text().splitlines(keepends=True)
    one = "".join(line for line in text if not any(f"  {name}:" in line for name in ("imran", "ravi", "usha")))
    site.configure(one)
    site.begin()
    site.write_people()
    site("people", "change", expect=4)
    sign(site, "imran", expect=2)
    sign(site, "asha")
    done = site.json("people", "change", expect=0)
    assert done.result["signed_by"] == ["asha"] and any("ACCEPTED ON ONE PERSON'S WORD" in one for one in done.document["warnings"])
    assert listed(site)["alone"] == "asha" and "accepted on the word of asha alone" in checked(site)[1]
    text = (site.etc / "opsctl.yaml").read_text()
    site.configure(text.replace("[auditor]", "[restore-officer]"))  # once there are two, that one alone changes nothing more
    site("people", "change", expect=4)
    sign(site, "asha")
    site("people", "change", expect=4)
    sign(site, "imran")
    site("people", "change", expect=0)
    assert listed(site)["alone"] is None


def test_promise_9_where_two_could_sign_none_is_left_who_could_let_others_in_alone(site: Site) -> None:
    site.begin()
    text = (site.etc / "opsctl.yaml").read_text().splitlines(keepends=True)
    site.configure("".join(line for line in text if not any(f"  {name}:" in line for name in ("imran", "ravi", "usha"))))
    said = site.json("people", "change", expect=23).errors[0]
    assert "1 key would be left, whose owner could let anybody in" in said["message"] and "in the same change" in said["hint"]
    one_key = people_of(site.keys, ["asha", "imran"], imran="asha")
    site.configure(f"state: {site.state}\n{one_key}")
    site.json("people", "change", expect=23)
    site.configure("".join(text))
    # nor by a line in the journal that two have signed elsewhere, and then one alone
    (first,) = site.journal("people.accepted")
    alone = {"asha": first["people"]["asha"]}
    asked = request(old=first["people"], new=alone, nonce="0" * 32, now=datetime.now(UTC))
    site.forge(None, "people.accepted", {**first, "people": alone, "how": "signed", "request": asked, "signatures": [
        {"by": by, "signature": Signer(site.keys / by, LocalShell()).sign(signed_bytes(asked, by), NAMESPACE)} for by in ("asha", "imran")]})
    assert "whose owner could let anybody in" in site.json("people", "list", expect=22).errors[0]["message"]


def test_the_fingerprint_is_of_what_counts_in_any_order() -> None:
    asha = {"name": "A", "roles": ["x", "y"], "ssh_key": "ssh-ed25519 AAAA", "deputy_of": None}
    ravi = {**asha, "deputy_of": "asha"}
    assert fingerprint({"asha": asha, "ravi": ravi}) == fingerprint({"ravi": ravi, "asha": asha})
    assert len({fingerprint({"asha": one}) for one in (asha, ravi, {**asha, "roles": ["x"]}, {**asha, "ssh_key": None})}) == 4
    assert changes({"asha": asha}, {"asha": {**asha, "ssh_key": None}}) == ["asha has another key: none, not ssh-ed25519 AAAA"]


def checked(site: Site) -> tuple[str, str]:
    found = doctor_people.check(wiring.Site(load_config(site.etc), clock=lambda: datetime.now(UTC)))
    return found.state, found.detail


def test_doctor_says_before_the_day_whether_two_could_approve(site: Site) -> None:
    assert checked(site)[0] == "ok" and "4 people can sign" in checked(site)[1] and "not accepted yet" in checked(site)[1]
    site.begin()
    assert "not accepted yet" not in checked(site)[1]
    assert [one["state"] for one in site.json("doctor", "--offline").result["checks"] if one["name"] == "people"] == ["ok"]
    site.write_people(imran="stranger")
    assert checked(site)[0] == "wrong" and "imran has another key" in checked(site)[1]
    site.forget()
    site.write_people(imran="asha")
    assert checked(site)[0] == "warning" and "asha and imran have one key" in checked(site)[1]
    site.configure(f"state: {site.state}\n{people_of(site.keys, ['asha'])}")
    assert checked(site)[0] == "warning" and "nothing that takes two can be approved" in checked(site)[1]


def test_what_the_journal_says_of_later_people_counts_only_as_it_was_signed(site: Site) -> None:
    run = site.begin()
    (first,) = site.journal("people.accepted")
    site.write_people(imran="stranger")
    site("people", "change", expect=4)
    others = json.loads((site.state / "people-change.json").read_text())["request"]["new"]
    for how in ("first use", "fingerprint"):
        site.forge(None, "people.accepted", {**first, "people": others, "how": how})
        site("people", "list", expect=23)
    site.forge(None, "people.accepted", {**first, "people": others, "how": "signed", "signatures": [],
                                         "request": {"old": others, "new": others}})
    assert "imran has another key" in site.approve(run, "imran", key="stranger", expect=23).errors[0]["message"]
    for by in ("asha", "usha"):
        sign(site, by)
    site("people", "change", expect=0)
    (*_, signed) = site.journal("people.accepted")
    site.forge(None, "people.accepted", {**signed, "request": {**signed["request"], "old": signed["people"]}})
    assert "was not signed as it says" in site.json("people", "list", expect=22).errors[0]["message"]


def test_a_spool_whose_people_were_accepted_without_the_state_directory_changes_nothing_here(site: Site) -> None:
    site.begin()
    aside = site.root / "aside"
    site.state.rename(aside)
    site.state.write_text("gone")
    site.write_people(imran="stranger")
    said = site.json("--break-glass", "run", "open", expect=4)
    assert any("PEOPLE ACCEPTED" in one for one in said.document["warnings"])
    site.state.unlink()
    aside.rename(site.state)
    (spool,) = spools(site)
    site("journal", "adopt", str(spool / "journal" / "000001.jsonl"), "--by", "asha", "--key", str(site.keys / "asha"), expect=0)
    assert "imran has another key" in site.json("people", "list", expect=23).errors[0]["message"]
    site.write_people()
    site("people", "list", expect=0)
    site("journal", "verify", expect=0)
