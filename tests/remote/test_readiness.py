"""The clocks of hosts, asked over SSH: what they follow is named, and one that does not answer holds no other up."""

from __future__ import annotations

from tests.remote.conftest import Remote


def test_the_clock_of_every_host_is_looked_at_and_what_does_not_answer_is_named(remote: Remote) -> None:
    key = remote.lab.hosts[0].key
    remote.configure("register", hosts="hosts:\n" + "".join(
        f"  {host.name}: {{address: {host.address}, user: ops, host_key: {host.key}}}\n" for host in remote.lab.hosts[:2])
        + f"  away: {{address: {remote.lab.controller}, port: 1, user: ops, host_key: {key}}}\n  pc: {{address: 10.0.2.7, os: windows}}\n")
    found = next(one for one in remote.machine.json("readiness", expect=3).result["items"] if one["item"] == "clocks")
    assert set(found["details"]) == {"this machine", "h0", "h1", "away"} and not found["details"]["away"]["ok"]
    # The hosts of the lab are processes of this machine, whose clock nobody keeps for them.
    assert found["details"]["h0"]["seen"] == found["details"]["this machine"]["seen"] == found["details"]["h1"]["seen"]
    assert "1 other machine that nobody logs into" in found["seen"]
    assert found["state"] == "missing"
    offline = next(one for one in remote.machine.json("readiness", "--offline").result["items"] if one["item"] == "clocks")
    assert set(offline["details"]) == {"this machine"} and "3 hosts not asked" in offline["seen"]
    assert offline["state"] == "missing", "what was not looked at is not called fine"
