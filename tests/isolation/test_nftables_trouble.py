"""Hosts whose programs, rights, rules or connections fail while they are cut off: none is stranded, and none is said to be cut off that is not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from opsctl.errors import NotConverged, ProgramFailed, Refused, Unreachable
from opsctl.isolation.nftables import Nftables
from opsctl.model import nft_rules
from opsctl.model.isolation import Order, opening
from tests.isolation.beds import HELD, MARK, ORDER, Entered, nftables, ruleset
from tests.isolation.flows import alive, flow, open_flows
from tests.lab.isolation import Host, Lab, reached
from tests.lab.waiting import until

pytestmark = [
    pytest.mark.lab,
    pytest.mark.as_root("network namespaces need root"),
    pytest.mark.xdist_group("isolation"),
]


@pytest.fixture
def host(isolation_lab: Lab) -> Iterator[Host]:
    """h1, with its programs and rules as they were."""
    found = isolation_lab.hosts["h1"]
    yield found
    for program in (found.folder / "bin").iterdir():
        program.unlink()
    isolation_lab.run("h1", ["nft", "flush", "ruleset"])


@pytest.fixture
def lab(isolation_lab: Lab) -> Lab:
    return isolation_lab


@pytest.fixture
def h1(lab: Lab, host: Host) -> Iterator[Nftables]:
    driver = nftables(lab, "h1")
    yield driver
    driver.close()


def is_armed(lab: Lab) -> bool:
    """Whether h1's own rules hold, for whoever is not logged in there by SSH."""
    return "elements" in lab.run("h1", ["nft", "list", "set", "inet", "opsctl_iso", "armed"])


# nft itself

OLD_KERNEL = """#!/bin/sh
case $1 in *"hook egress"*) echo "Error: Could not process rule: Operation not supported" >&2; exit 1 ;; esac
exec /usr/sbin/nft "$@"
"""


def test_without_egress_in_the_kernel_it_is_cut_off_in_part_and_says_so(lab: Lab, host: Host, h1: Nftables) -> None:
    h1.load(ORDER, h1.observe())
    h1.confirm()
    host.put("nft", OLD_KERNEL)
    h1.load(replace(ORDER, dhcp=True), h1.observe())  # over both layers, of which one cannot be made anew
    h1.confirm()
    stand = h1.observe()
    assert stand.standing == "isolated" and len(stand.partial) == 1 and "too old" in stand.partial[0]
    assert "netdev" not in ruleset(lab, "h1") and not reached(lab, "outside", host.address, 22, 0.5)
    h1.extend(60)
    assert h1.observe().standing == "armed"
    h1.release()
    assert ruleset(lab, "h1") == ""


@pytest.mark.parametrize(("nft", "said", "hint"), [
    ("echo 'sh: 1: nft: not found' >&2; exit 127", "nft: not found", "install nftables there"),
    ("case $1 in list) exec /usr/sbin/nft \"$@\";; *) echo 'Error: syntax error, unexpected string' >&2; exit 1;; esac",
     "syntax error, unexpected string", "nothing was loaded there"),
    ("echo 'Operation not permitted (you must be root)' >&2; exit 1", "you must be root", "become: sudo"),
])
def test_an_nft_that_says_no_is_20_with_its_words_and_nothing_is_loaded(
    lab: Lab, host: Host, h1: Nftables, nft: str, said: str, hint: str
) -> None:
    stand = h1.observe()
    before = ruleset(lab, "h1")
    host.put("nft", f"#!/bin/sh\n{nft}\n")
    with pytest.raises(ProgramFailed) as failed:
        h1.load(ORDER, stand)
    assert said in failed.value.message and "h1" in failed.value.message and hint in (failed.value.hint or "")
    assert ruleset(lab, "h1") == before


def test_of_rules_that_are_refused_the_line_is_told(lab: Lab, host: Host, h1: Nftables) -> None:
    stand = h1.observe()
    host.put("nft", """#!/bin/bash
case $1 in
    list) exec /usr/sbin/nft "$@" ;;
    -*) exec /usr/sbin/nft "$@" < <(sed 's/-310; policy accept/-310; policy nonsense/') ;;
    *) exec /usr/sbin/nft "${1//-310; policy accept/-310; policy nonsense}" ;;
esac
""")
    with pytest.raises(ProgramFailed, match="priority -310; policy nonsense"):
        h1.load(ORDER, stand)
    assert ruleset(lab, "h1") == ""


@pytest.mark.parametrize("here", [False, True])
def test_rules_that_are_longer_than_an_argument_may_be(lab: Lab, host: Host, here: bool) -> None:
    driver = Nftables("h1", connect=lambda: Entered(lab, "h1")) if here else nftables(lab, "h1")
    order = replace(ORDER, allow=tuple(opening(f"in:10.1.{one // 250}.{one % 250}:443") for one in range(400)))
    stand = driver.observe()
    assert len(nft_rules.load(order, stand.facts)) > 1 << 17
    driver.load(order, stand)
    driver.confirm()
    stand = driver.observe()
    assert stand.standing == "isolated" and stand.digest == order.digest
    driver.release()
    driver.close()
    assert ruleset(lab, "h1") == ""


def test_who_is_not_root_is_told_so(lab: Lab, host: Host) -> None:
    driver = nftables(lab, "h1", user="ops")
    with pytest.raises(ProgramFailed) as failed:
        driver.load(ORDER, nftables(lab, "h1").observe())
    assert "not permitted" in failed.value.message and "become: sudo" in (failed.value.hint or "")
    driver.close()
    sudo = nftables(lab, "h1", user="ops", sudo=True)
    sudoers = lab.run("h1", ["cat", "/etc/sudoers"])
    lab.run("h1", ["sh", "-c", "grep -v NOPASSWD /etc/sudoers >/tmp/s; cat /tmp/s >/etc/sudoers"])
    try:
        with pytest.raises(Refused, match="sudo on h1"):
            sudo.observe()
        lab.run("h1", ["sh", "-c", "cat >/etc/sudoers"], stdin=sudoers.replace("SSH_CONNECTION", ""))
        with pytest.raises(Refused, match="from where it is logged into"):  # rules that let nobody in are not loaded at all
            sudo.load(ORDER, sudo.observe())
    finally:
        lab.run("h1", ["sh", "-c", "cat >/etc/sudoers"], stdin=sudoers)
        sudo.close()
    assert ruleset(lab, "h1") == ""


# Shut out

def test_promise_5_rules_of_others_that_shut_us_out_are_found_and_it_lifts_itself(lab: Lab, host: Host, h1: Nftables) -> None:
    lab.run("h1", ["nft", "-f", "-"], stdin="""table inet strict { chain input { type filter hook input priority 0; policy accept
        ct state established accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    }
}
""")
    stand = h1.observe()
    lab.run("h1", ["nft", "chain inet strict input { policy drop; }"])
    h1.load(Order(MARK, seconds=3), stand)
    for _ in range(2):
        with pytest.raises(Unreachable):  # the session that was there before still lives, and proves nothing
            h1.confirm()
    until(lambda: not is_armed(lab))
    lab.run("h1", ["nft", "delete", "table", "inet", "strict"])
    assert h1.observe().standing == "lifted"


def test_promise_5_rules_that_know_the_wrong_manager_lift_themselves(lab: Lab, host: Host, h1: Nftables) -> None:
    stand = h1.observe()
    wrong = replace(stand, facts=replace(stand.facts, manager="192.0.2.1"))
    h1.load(Order(MARK, seconds=3), wrong)  # its answer comes when it has lifted itself
    with pytest.raises(NotConverged):
        h1.confirm()
    until(lambda: not is_armed(lab))
    assert h1.observe().standing == "lifted"


def test_a_session_that_dies_after_the_load_is_not_needed(lab: Lab, host: Host, h1: Nftables) -> None:
    h1.load(ORDER, h1.observe())
    for line in lab.run("h1", ["ps", "-eo", "pid,args"]).splitlines():
        if "sshd: root" in line:
            lab.run("h1", ["kill", f"-{signal.SIGKILL:d}", line.split()[0]], check=False)
    h1.confirm()
    assert h1.observe().standing == "isolated"
    h1.release()


def test_sshd_that_dies_after_the_load_strands_nobody(lab: Lab, host: Host, h1: Nftables) -> None:
    h1.load(Order(MARK, seconds=3), h1.observe())
    lab.stop(host)
    try:
        with pytest.raises(Unreachable):
            h1.confirm()
        until(lambda: not is_armed(lab))
    finally:
        lab.start(host)
    assert h1.observe().standing == "lifted"


# What is slow, or does not do what it says

def test_one_session_at_a_time_is_enough_and_a_snapshot_that_hangs_holds_nothing_up(lab: Lab, host: Host, h1: Nftables) -> None:
    lab.stop(host)
    lab.more = "MaxSessions 1"
    lab.start(host)
    try:
        h1.load(ORDER, h1.observe())
        h1.confirm()
        whole = h1.snapshot()
        assert b"== sockets\n" in whole and b"sshd" in whole and b"== processes\n" in whole and b"broken off" not in whole
        host.put("ps", "#!/bin/sh\ntrap '' TERM\nexec sleep 30\n")
        host.put("date", "#!/bin/sh\ntrap '' TERM\nexec sleep 30\n")
        part = h1.snapshot()
        assert b"broken off" in part
        assert h1.cut(ORDER).after == 0 and h1.observe().standing == "isolated"
        h1.release()
    finally:
        h1.close()
        lab.more = ""
        lab.stop(host)
        lab.start(host)


def test_processes_are_noted_also_where_nobody_can_list_sockets(lab: Lab, host: Host, h1: Nftables) -> None:
    h1.load(ORDER, h1.observe())
    host.put("ss", "#!/bin/sh\ntrap '' TERM\nexec sleep 30\n")
    part = h1.snapshot()
    assert b"sshd" in part and b"broken off" in part


def test_where_all_tables_cannot_be_listed_ours_are_still_seen(lab: Lab, host: Host, h1: Nftables) -> None:
    h1.load(ORDER, h1.observe())
    seal = h1.observe().seal
    host.put("nft", "#!/bin/sh\n[ \"$*\" != 'list ruleset' ] || { echo 'Error: no' >&2; exit 1; }\nexec /usr/sbin/nft \"$@\"\n")
    stand = h1.observe()
    assert stand.standing == "armed" and stand.seal == seal


def test_what_hangs_behind_a_confirmation_does_not_take_it_back(lab: Lab, host: Host, h1: Nftables) -> None:
    h1.load(ORDER, h1.observe())
    for program in ("ss", "timeout"):
        host.put(program, "#!/bin/sh\ntrap '' TERM\nexec sleep 30\n")
    h1.confirm()
    assert b"broken off" in (part := h1.snapshot()) and b"within 5 seconds" in part
    for program in ("ss", "timeout"):
        (host.folder / "bin" / program).unlink()
    assert h1.observe().standing == "isolated" and h1.cut(ORDER).after == 0
    h1.release()


def test_promise_4_connections_in_a_namespace_without_a_process_die_as_well(lab: Lab, host: Host, h1: Nftables) -> None:
    """`ip netns add`, of which no process is left: what was in it, and went back, still holds its connection."""
    outside = lab.hosts["outside"].address
    before = lab.run("h1", ["sysctl", "-n", "net.ipv4.ip_forward"]).strip()
    for argv in (["netns", "add", "lone"], ["link", "add", "vlone", "type", "veth", "peer", "name", "eth9", "netns", "lone"],
                 ["addr", "add", "10.77.7.1/24", "dev", "vlone"], ["link", "set", "vlone", "up"],
                 ["-n", "lone", "addr", "add", "10.77.7.2/24", "dev", "eth9"], ["-n", "lone", "link", "set", "eth9", "up"],
                 ["-n", "lone", "route", "add", "default", "via", "10.77.7.1"]):
        lab.run("h1", ["ip", *argv])
    lab.run("h1", ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
    lab.run("outside", ["ip", "route", "add", "10.77.7.0/24", "via", host.address])
    try:
        with open_flows([flow(lab, "lone", "h1/lone", "outside", outside, near="h1/lone")]) as theirs:
            assert alive(theirs) == ["lone"]
            h1.load(ORDER, h1.observe())
            h1.confirm()
            assert b"-- net:[" in h1.snapshot()
            done = h1.cut(ORDER)
            assert (done.before, done.after, done.notes) == (1, 0, ())
            h1.release()
            assert alive(theirs) == []
    finally:
        lab.run("outside", ["ip", "route", "delete", "10.77.7.0/24"])
        lab.run("h1", ["sysctl", "-qw", f"net.ipv4.ip_forward={before}"])
        lab.run("h1", ["ip", "netns", "delete", "lone"])


def test_promise_4_a_kernel_that_does_not_end_connections_is_found_by_counting(lab: Lab, host: Host, h1: Nftables) -> None:
    host.put("ss", '#!/bin/sh\ncase $1 in -K) exit 0;; esac\nexec /usr/bin/ss "$@"\n')
    with open_flows([flow(lab, "in", "outside", "h1", host.address6, near="h1")]) as theirs:
        h1.load(ORDER, h1.observe())
        h1.confirm()
        done = h1.cut(ORDER)
        assert (done.before, done.after) == (1, 1) and h1.observe().connections == 1
        h1.release()
        until(lambda: alive(theirs) == ["in"])


@pytest.mark.parametrize("program", ["ss", "lsns"])
def test_promise_4_where_nobody_can_count_connections_nobody_says_that_there_are_none(
    lab: Lab, host: Host, h1: Nftables, program: str
) -> None:
    host.put(program, f"#!/bin/sh\necho 'sh: {program}: not found' >&2\nexit 127\n")
    box = subprocess.Popen(lab.inside("h1", ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sleep", "600"]))
    try:
        h1.load(ORDER, h1.observe())
        h1.confirm()
        done = h1.cut(ORDER)
        assert (done.before, done.after) == (None, None) and f"{program}: not found" in done.notes[0]
        stand = h1.observe()
        assert (stand.standing, stand.connections) == ("isolated", None)
        h1.release()
    finally:
        box.kill()
        box.wait()


# What others do to our rules

@pytest.mark.parametrize(("change", "standing", "partial"), [
    ("insert rule inet opsctl_iso iso_in tcp dport 4444 accept", "isolated", False),
    ("insert rule netdev opsctl_iso iso_in tcp dport 4444 accept", "isolated", False),
    ("delete element inet opsctl_iso armed { ipv6 }", "lifted", False),
    ("delete element netdev opsctl_iso armed { ip6 }", "isolated", True),
    ("flush chain inet opsctl_iso pre", "lifted", False),
    ("flush chain inet opsctl_iso iso_out", "lifted", False),
    ("add table inet opsctl_iso { flags dormant; }", "lifted", False),
    ("delete table netdev opsctl_iso", "isolated", True),
    ("delete table inet opsctl_iso", "lifted", False),
    ("flush ruleset", "open", False),
])
def test_drift_shows(lab: Lab, host: Host, h1: Nftables, change: str, standing: str, partial: bool) -> None:
    h1.load(ORDER, h1.observe())
    h1.confirm()
    before = h1.observe()
    assert not reached(lab, "outside", host.address, 22, 0.1)  # so that counters move
    assert h1.observe().seal == before.seal
    lab.run("h1", ["nft", "-f", "-"], stdin=change + "\n")
    after = h1.observe()
    assert (after.standing, bool(after.partial)) == (standing, partial) and after.seal != before.seal
    h1.release()
    assert ruleset(lab, "h1") == ""


# After a reboot

def test_what_is_persisted_is_what_is_loaded_and_only_what_was_confirmed(lab: Lab, host: Host, h1: Nftables, tmp_path: Path) -> None:
    order = replace(HELD, persist=True)
    with pytest.raises(ProgramFailed, match="no systemd"):
        h1.persist(order)
    lab.run("h1", ["mkdir", "-p", "/run/systemd/system"])
    h1.load(ORDER, h1.observe())
    with pytest.raises(ProgramFailed, match="not confirmed"):
        h1.persist(order)
    assert not list((host.folder / "units").rglob("*.service"))
    h1.confirm()
    assert h1.observe().persisted is False
    h1.persist(order)
    assert h1.observe().persisted is True
    file = host.folder / "opsctl" / "isolated.nft"
    assert file.stat().st_mode & 0o777 == 0o600 and os.listdir(file.parent) == ["isolated.nft"]
    enabled(host, tmp_path)
    after_a_reboot(lab, h1)
    for name in ("opsctl/isolated.nft", "units/opsctl-isolated.service", "units/sysinit.target.wants/opsctl-isolated.service"):
        kept = host.folder / name
        kept.rename(tmp_path / "away")
        assert h1.observe().persisted is False
        (tmp_path / "away").rename(kept)
    h1.load(replace(HELD, dhcp=True), h1.observe())
    assert h1.observe().persisted is False  # what would come back is another isolation
    h1.persist(order)
    assert h1.observe().persisted is True
    h1.persist(HELD)
    assert h1.observe().persisted is False and not file.exists()
    h1.persist(order)
    lab.run("h1", ["nft", "flush", "ruleset"])
    stand = h1.observe()
    assert (stand.standing, stand.persisted) == ("open", True)  # until it starts again
    h1.release()
    assert h1.observe().persisted is False and not file.exists()
    h1.load(HELD, h1.observe())
    h1.persist(order)
    h1.release()
    assert not file.exists() and not [path for path in (host.folder / "units").rglob("*") if not path.is_dir()]
    stand = h1.observe()
    assert (stand.standing, stand.persisted) == ("open", False)
    lab.run("h1", ["rm", "-r", "/run/systemd"])


def test_a_disk_that_cannot_be_written_to_keeps_nobody_closed(lab: Lab, host: Host, h1: Nftables) -> None:
    lab.run("h1", ["mkdir", "-p", "/run/systemd/system"])
    h1.load(HELD, h1.observe())
    h1.persist(replace(HELD, persist=True))
    lab.run("h1", ["mount", "-o", "remount,ro,bind", "/etc/opsctl"])
    try:
        with pytest.raises(ProgramFailed, match="Read-only file system"):
            h1.release()
        assert ruleset(lab, "h1") == "" and reached(lab, "outside", host.address, 22)
    finally:
        lab.run("h1", ["mount", "-o", "remount,rw,bind", "/etc/opsctl"])
    h1.release()
    assert not list((host.folder / "opsctl").iterdir())
    lab.run("h1", ["rm", "-r", "/run/systemd"])


def enabled(host: Host, tmp_path: Path) -> None:
    """systemd itself takes the unit, and starts it."""
    root = tmp_path / "root"
    shutil.copytree(host.folder / "units", root / "etc/systemd/system", symlinks=True)
    unit = root / "etc/systemd/system/opsctl-isolated.service"
    checked = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0 and "isolated" not in checked.stderr, checked.stderr
    if shutil.which("systemctl"):
        said = subprocess.run(["systemctl", f"--root={root}", "is-enabled", unit.name], capture_output=True, text=True, check=False)
        assert said.stdout.strip() == "enabled", said.stderr


def after_a_reboot(lab: Lab, h1: Nftables) -> None:
    """What the unit starts brings the same rules, in a network that has none; first those that need no port to be there."""
    before = ruleset(lab, "h1")
    unit = lab.run("h1", ["cat", "/etc/systemd/system/opsctl-isolated.service"])
    first, second = (line.partition("'")[2].rstrip("'") for line in unit.splitlines() if line.startswith("ExecStart="))
    h1.close()
    lab.run("h1", ["nft", "flush", "ruleset"])
    lab.run("h1", ["sh", "-c", first])
    stand = h1.observe()
    assert stand.standing == "isolated" and len(stand.partial) == 1
    lab.run("h1", ["sh", "-c", second.replace("udevadm settle --timeout=20; ", "")])
    assert ruleset(lab, "h1") == before
    stand = h1.observe()
    assert (stand.standing, stand.partial, stand.persisted) == ("isolated", (), True)
