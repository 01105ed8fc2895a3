"""A playbook of the site's own that people vouch for: one that was changed since is not run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.approvals.site import Site, people_of


def sign(site: Site, by: str, *more: str, key: str | None = None, expect: int = 0) -> Any:
    return site.json("--yes", "playbooks", "sign", "open", "--by", by, "--key", str(site.keys / (key or by)), *more, expect=expect)


@pytest.fixture
def strict(site: Site) -> Site:
    """Two have to vouch."""
    site.configure(f"state: {site.state}\nplaybooks: {{signed_by: 2}}\n{people_of(site.keys)}")
    return site


def test_a_playbook_is_run_when_enough_have_signed_it_as_it_is(strict: Site) -> None:
    assert "is signed by nobody, and 2 have to" in strict.json("run", "open", expect=23).errors[0]["message"]
    strict("playbooks", "sign", "open", "--by", "asha", "--key", str(strict.keys / "asha"), expect=4)
    sign(strict, "asha", "--dry-run")
    assert "signed by nobody" in strict.json("run", "open", expect=23).errors[0]["message"]
    sign(strict, "asha", key="imran", expect=12)
    sign(strict, "asha")
    sign(strict, "asha")
    assert "is signed by asha, and 2 have to" in strict.json("plan", "open", expect=23).errors[0]["message"]
    strict("playbooks", "check", "open", expect=23)
    sign(strict, "usha")
    strict("playbooks", "check", expect=0)
    run = strict.begin()
    # a run that was bound goes on as it was bound
    strict.write_playbook(act="echo robbed")
    for by in ("asha", "imran"):
        strict.approve(run, by)
    strict("resume", run, expect=0)
    assert strict.diary == ["before", "opened"]
    said = strict.json("run", "open", expect=23).errors[0]
    assert "was changed since asha signed it at 2026-12-12" in said["message"]
    sign(strict, "asha")
    assert "is signed by asha, and" in strict.json("run", "open", expect=23).errors[0]["message"], "the others have not seen it"
    # what comes with opsctl is believed as the program is
    assert "comes with opsctl" in strict.json("playbooks", "sign", "backup", "--by", "asha", expect=2).errors[0]["message"]
    strict("playbooks", "check", "backup", expect=0)


def test_a_signed_one_that_was_changed_is_refused_also_where_nobody_has_to_sign(site: Site) -> None:
    sign(site, "asha")
    site.begin()
    site.write_playbook(act="echo robbed")
    site("run", "open", expect=23)
    assert site.diary == ["before"]


def test_signatures_that_are_not_theirs_are_named(site: Site) -> None:
    sign(site, "asha")
    place = site.etc / "playbooks" / "open.signatures.json"
    (whole,) = json.loads(place.read_text())

    def refused(code: int, **changed: str) -> str:
        place.write_text(json.dumps([{**whole, "statement": {**whole["statement"], **changed}}]))
        return str(site.json("run", "open", expect=code).errors[0]["message"])

    assert "in the name of imran the signature does not hold" in refused(12, by="imran")
    assert "signed by nobody, and nobody of that name" in refused(12, by="nobody")
    assert "does not hold" in refused(12, time="2026-12-13T00:00:00+05:30")
    place.write_text("{}")
    assert "holds no signatures" in site.json("run", "open", expect=22).errors[0]["message"]
    place.write_text(json.dumps([whole]))
    site.begin()
    # nor does a signature of another playbook, nor one of other people than were accepted
    (site.etc / "playbooks" / "other.yaml").write_text((site.etc / "playbooks" / "open.yaml").read_text().replace("name: open", "name: other"))
    (site.etc / "playbooks" / "other.signatures.json").write_text(place.read_text())
    site("run", "other", expect=23)
    site.write_people(asha="stranger")
    site("run", "open", expect=23)
    assert site.diary == ["before"]
