"""Hosts are cut off and opened again while the state directory cannot be used, and it knows of them afterwards."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from opsctl.isolation import calling
from opsctl.model.config import Config
from opsctl.shells import local
from opsctl.wiring import Site
from tests.badluck.faults import small_disk
from tests.lab.isolation import Lab
from tests.machine import Machine

pytestmark = [
    pytest.mark.lab,
    pytest.mark.as_root("network namespaces need root"),
    pytest.mark.xdist_group("isolation"),
]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(2) as made:
        yield made


@pytest.fixture
def machine(tmp_path: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Its state directory is a file."""
    monkeypatch.setattr(calling, "WITHIN", 0.3)  # nothing here is far away
    found = Machine(tmp_path / "m")
    asha = found.root / "asha"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "asha", "-f", str(asha)], check=True, stdin=subprocess.DEVNULL)
    found.configure(f"state: {found.state}\npeople:\n  asha: {{name: asha, ssh_key: {asha.with_suffix('.pub').read_text().strip()}}}\n")
    lab.configure(found.etc)
    found.state.write_text("was a directory\n")
    yield found
    for name in ("h0", "h1"):
        lab.run(name, ["nft", "flush", "ruleset"])
    for place in (*spools(found), *spools(found, found.root / ".local/state/opsctl")):
        shutil.rmtree(place)
    local.reset()


def spools(machine: Machine, state: Path | None = None) -> list[Path]:
    site = Site(Config.model_validate({"state": str(state or machine.state)}), clock=lambda: datetime.now(UTC), environ=machine.environ)
    return sorted(site.locks.directory.glob(f"spool-{site.scope}-*"))


def cut_off(lab: Lab) -> list[str]:
    return [name for name in ("h0", "h1") if "opsctl_iso" in lab.run(name, ["nft", "-s", "list", "ruleset"])]


def test_hosts_are_cut_off_and_opened_without_a_state_directory(machine: Machine, lab: Lab) -> None:
    assert "--break-glass" in machine("isolate", "apply", "h0", expect=20).err and cut_off(lab) == []
    said = machine("isolate", "apply", "h0", "h1", "--break-glass", expect=0)
    assert cut_off(lab) == ["h0", "h1"] and "BREAK-GLASS" in said.err
    assert said.out.splitlines()[-1].endswith("--break-glass isolate release h0 h1")
    looked = machine.json("--break-glass", "isolate", "status", expect=0).result["hosts"]
    assert {name: one["stand"]["standing"] for name, one in looked.items()} == {"h0": "isolated", "h1": "isolated"}
    machine("--break-glass", "isolate", "release", "h1", expect=0)
    assert cut_off(lab) == ["h0"]

    machine.state.unlink()  # somebody brings the state directory back, empty
    (place,) = spools(machine)
    machine("journal", "adopt", str(place / "journal" / "000001.jsonl"), "--by", "asha", "--key", str(machine.root / "asha"), expect=0)
    assert [path.name for path in (machine.state / "isolated").iterdir()] == ["h0.json"]
    assert list(machine.json("isolate", "status", expect=0).result["hosts"]) == ["h0"]
    machine("isolate", "release", "h0", expect=0)
    assert cut_off(lab) == []
    machine("journal", "verify", expect=0)


def test_hosts_are_cut_off_rehearsed_and_opened_while_the_disk_is_full(machine: Machine, lab: Lab) -> None:
    machine.state.unlink()
    with small_disk(machine.root / "disk", "1M") as disk:
        (disk / "state").mkdir(mode=0o700)
        with contextlib.suppress(OSError), (disk / "ballast").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        machine.state.symlink_to(disk / "state")
        assert "--break-glass" in machine("isolate", "apply", "h0", expect=20).err and cut_off(lab) == []
        machine("--break-glass", "isolate", "rehearse", "h0", "--seconds", "2", expect=0)
        machine("--break-glass", "isolate", "apply", "h0", "h1", expect=0)
        assert cut_off(lab) == ["h0", "h1"]
        looked = machine.json("--break-glass", "isolate", "status", expect=0).result["hosts"]
        assert {name: one["stage"] for name, one in looked.items()} == {"h0": "confirmed", "h1": "confirmed"}
        machine("--break-glass", "isolate", "release", "h0", "h1", expect=0)
        assert cut_off(lab) == []
        machine.state.unlink()


def test_a_disk_that_fills_meanwhile_says_which_hosts_are_cut_off_and_which_lift_themselves(machine: Machine, lab: Lab) -> None:
    machine.state.unlink()
    lab.hosts["h1"].put("nft", "#!/bin/sh\ncase $1 in add*) while [ -e /tmp/wait ]; do sleep 0.05; done;; esac\nexec /usr/sbin/nft \"$@\"\n")
    lab.run("h1", ["touch", "/tmp/wait"])
    with small_disk(machine.root / "disk", "3M") as disk:
        (disk / "state").mkdir(mode=0o700)
        machine.state.symlink_to(disk / "state")
        try:
            running = machine.start("isolate", "apply", "h0", "h1")
            assert running.stderr is not None and "h0: isolated and confirmed" in running.stderr.readline()
            with contextlib.suppress(OSError), (disk / "ballast").open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        finally:
            lab.run("h1", ["rm", "/tmp/wait"])
        out, err = running.communicate(timeout=90)
        lab.hosts["h1"].drop("nft")
        assert running.returncode == 20 and "the disk of the journal is full" in err, out + err
        assert "isolated and confirmed: h0" in err and "lifting itself within 60 s: h1" in err and "isolate release h0 h1` releases" in err
        machine.state.unlink()


def test_what_was_cut_off_before_the_state_directory_was_lost_is_known_and_opened(machine: Machine, lab: Lab) -> None:
    """It can be read, and no longer written: what was released meanwhile is released there too, once the spool is adopted."""
    machine.state.unlink()
    machine("isolate", "apply", "h0", "h1", expect=0)
    aside = machine.root / "aside"
    machine.state.rename(aside)
    machine.state.mkdir()
    subprocess.run(["mount", "--bind", str(aside), str(machine.state)], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", str(machine.state)], check=True)
    try:
        assert set(machine.json("--break-glass", "isolate", "status", expect=0).result["hosts"]) == {"h0", "h1"}
        machine("--break-glass", "isolate", "release", "h1", expect=0)
        assert set(machine.json("--break-glass", "isolate", "status", expect=0).result["hosts"]) == {"h0"}
    finally:
        subprocess.run(["umount", str(machine.state)], check=True)
    machine.state.rmdir()
    aside.rename(machine.state)
    (place,) = spools(machine)
    machine("journal", "adopt", str(place / "journal" / "000001.jsonl"), "--by", "asha", "--key", str(machine.root / "asha"), expect=0)
    assert list(machine.json("isolate", "status", expect=0).result["hosts"]) == ["h0"]
    machine("isolate", "release", "h0", expect=0)


def test_what_nobody_took_in_yet_is_known_and_what_was_opened_since_stays_open(machine: Machine, lab: Lab) -> None:
    machine("--break-glass", "isolate", "apply", "h0", "h1", expect=0)
    machine.state.unlink()
    for more in ((), ("--due",)):
        said = machine.json("isolate", "status", *more, expect=0)
        assert {name: host["stage"] for name, host in said.result["hosts"].items()} == {"h0": "confirmed", "h1": "confirmed"}
    machine("isolate", "release", "h0", expect=0)
    assert list(machine.json("isolate", "status", expect=0).result["hosts"]) == ["h1"]
    place, = spools(machine)
    machine("journal", "adopt", str(place / "journal" / "000001.jsonl"), "--by", "asha", "--key", str(machine.root / "asha"), expect=0)
    assert list(machine.json("isolate", "status", expect=0).result["hosts"]) == ["h1"]
    assert cut_off(lab) == ["h1"] and [path.name for path in (machine.state / "isolated").glob("*")] == ["h1.json"]


def test_a_host_of_no_configuration_is_cut_off_where_no_state_directory_can_be_made(machine: Machine, lab: Lab) -> None:
    for path in machine.etc.glob("*.yaml"):
        path.unlink()
    (machine.root / ".local").write_text("no folder\n")
    host = lab.hosts["h0"]
    shown = subprocess.run(["ssh-keygen", "-lf", "-"], input=host.key, capture_output=True, text=True, check=True).stdout.split()[1]
    named = (f"root@{host.address}", "--host-key", shown, "--key", str(lab.login))
    assert machine("isolate", "apply", *named).code == 20 and cut_off(lab) == []
    machine("isolate", "apply", *named, "--break-glass", expect=0)
    assert cut_off(lab) == ["h0"] and len(spools(machine, machine.root / ".local/state/opsctl")) == 1
    machine("isolate", "release", *named, "--break-glass", expect=0)
    assert cut_off(lab) == []
