"""What takes two people is done when two have signed for it with real keys, and never otherwise."""

from __future__ import annotations

from tests.approvals.site import Site


def test_a_run_waits_until_two_people_have_signed(site: Site) -> None:
    run = site.begin()
    assert site.diary == ["before"]
    asked = site.json("resume", run, expect=4).errors[0]["message"]
    assert "the doors may be opened: 2 people with the role restore-officer approve with" in asked
    assert f"`opsctl approve {run} agree --by NAME`" in asked
    site("approve", run, "agree", "--by", "asha", "--key", str(site.keys / "asha"), expect=4)
    assert "would" not in site.approve(run, "asha").out
    assert "asha approved; 1 more person" in site.json("resume", run, expect=4).errors[0]["message"]
    assert site.diary == ["before"]
    shown = site("--yes", "approve", run, "agree", "--by", "imran", "--key", str(site.keys / "imran"), "--note", "seen", expect=0)
    assert f"echo opened >> {site.root}/diary" in shown.err and "until 2026-12-1" in shown.err
    assert f"2 of 2 approved; go on with: opsctl resume {run}" in shown.out
    site("resume", run, expect=0)
    site("resume", run, expect=0)
    assert site.diary == ["before", "opened"]
    site("journal", "verify", expect=0)
