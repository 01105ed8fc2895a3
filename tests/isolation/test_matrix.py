"""The probe matrix played through the command line: before, cut off, opened again; IPv4 and IPv6; old connections."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from opsctl.shells import local
from tests.lab.isolation import Host, Lab, reached
from tests.lab.sshd import until
from tests.machine import Machine

pytestmark = [
    pytest.mark.lab,
    pytest.mark.as_root("network namespaces need root"),
    pytest.mark.xdist_group("isolation"),
]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(2, box=["h0"], child=["h0"]) as made:
        yield made


@pytest.fixture
def machine(tmp_path: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setattr("opsctl.isolation.calling.WITHIN", 0.5)  # nothing is lost on the way in the lab
    found = Machine(tmp_path / "m")
    manager, outside = lab.hosts["manager"], lab.hosts["outside"]
    found.configure(f"""
state: {found.state}
isolation: {{witness: outside, outside: ["{manager.address}:22", "[{manager.address6}]:22"]}}
""")
    lab.configure(found.etc, lab.config() + f"  outside: {{address: {outside.address}, user: root, host_key: {outside.key}}}\n")
    yield found
    local.reset()


def called(lab: Lab, space: str, address: str, port: int) -> socket.socket:
    with lab.within(space):
        return socket.create_connection((address, port), timeout=5)


def versions(host: Host) -> tuple[str, str]:
    return host.address, host.address6


def test_the_whole_matrix_before_while_cut_off_and_after_the_release(machine: Machine, lab: Lab) -> None:
    h0, manager = lab.hosts["h0"], lab.hosts["manager"]
    ways = [("outside", address, port) for address in versions(h0) for port in (22, 8000)]
    ways += [("outside", address, 8080) for address in versions(h0)]  # what a container serves there
    ways += [(space, address, 22) for space in ("h0", "h0/box", "h0/child") for address in versions(manager)]
    before = lab.run("h0", ["nft", "-s", "list", "ruleset"])
    with ExitStack() as kept:
        for space, port in (("h0", 8000), ("h0/box", 80)):
            with lab.within(space):
                kept.enter_context(socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True))
        assert [way for way in ways if not reached(lab, *way)] == []
        old = [kept.enter_context(called(lab, *way)) for way in ways]

        told = machine.json("isolate", "apply", "h0", "--probe-first", expect=0).result["hosts"]["h0"]
        proof = told["proof"]
        assert (proof["verdict"], proof["findings"], proof["gaps"]) == ("proven", [], [])
        assert proof["cells"] == {place: {"4": "silent", "6": "silent"} for place in ("here", "witness", "out")}
        assert proof["connections"]["before"] >= len(ways) and proof["connections"]["after"] == 0
        turned = {(one["place"], ":" in one["address"], one["port"]) for one in proof["probes"]
                  if (one["before"], one["outcome"]) == ("open", "silent")}
        assert {(place, six, 8000) for place in ("here", "witness") for six in (False, True)} <= turned
        assert {("out", six, 22) for six in (False, True)} <= turned
        assert [way for way in ways if reached(lab, *way, seconds=0.3)] == []
        assert reached(lab, "h0", "127.0.0.1", 8000) and reached(lab, "h0", h0.address, 8000)
        noted = dict(part.partition("\n")[::2] for part in Path(told["snapshot"]).read_text().split("== ")[1:])
        assert ":8000 " in noted["sockets"] and "dport=8080" in noted["tracked"] and "sshd" in noted["processes"]
        assert ":80 " in noted["other namespaces"]
        journal = "".join(path.read_text() for path in sorted((machine.state / "journal").glob("*.jsonl")))
        assert '"verdict":"proven"' in journal
        shown = machine("isolate", "apply", "h0", expect=0).out
        assert "proven" in shown and "v4 v6 silent" in shown

        machine("isolate", "release", "h0", expect=0)
        assert lab.run("h0", ["nft", "-s", "list", "ruleset"]) == before
        assert [way for way in ways if not reached(lab, *way)] == []
        assert [way for way, one in zip(ways, old, strict=True) if lives(one)] == []


def lives(one: socket.socket) -> bool:
    """Whether a connection still carries anything: the second send meets the answer to the first."""
    one.settimeout(5)
    try:
        one.send(b"x")
        until(lambda: one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or _ended(one))
    except (OSError, AssertionError) as error:
        return isinstance(error, AssertionError)
    return False


def _ended(one: socket.socket) -> bool:
    one.setblocking(False)
    try:
        return one.recv(4096) == b""
    except BlockingIOError:
        return False


def test_a_host_whose_programs_try_again_and_again_is_cut_off_all_the_same(machine: Machine, lab: Lab) -> None:
    manager = lab.hosts["manager"].address
    script = f"""
        while :; do exec 3<>/dev/tcp/{manager}/22; done 2>/dev/null &
        while :; do exec 3<>/dev/udp/{manager}/53 && echo x >&3; sleep 0.05; done 2>/dev/null
    """
    with subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *lab.inside("h1", ["bash", "-c", script])],
                          start_new_session=True) as busy:
        try:
            until(lambda: manager in lab.run("h1", ["ss", "-Htun"]))
            machine("isolate", "apply", "h1", expect=0)
        finally:
            busy.kill()


def test_the_witness_is_not_cut_off_with_the_others(machine: Machine, lab: Lab) -> None:
    outside = lab.hosts["outside"]
    lab.configure(machine.etc, lab.config() + f"  outside: {{address: {outside.address}, user: root, host_key: {outside.key}, "
                                              "zone: main, isolation: nftables}\n")
    said = machine.json("isolate", "apply", "--zone", "main", "--except", "h0", "--except", "h1", expect=23)
    assert said.errors[0]["message"].startswith("outside is the witness")
    assert "opsctl_iso" not in lab.run("outside", ["nft", "list", "ruleset"])
