"""A command of a host as a command of this machine: ended as the other one ended, nothing kept of what was cut off."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opsctl.shells.ssh_relay import relayed
from tests.lab.sshd import Lab, until

pytestmark = [
    pytest.mark.lab,
    pytest.mark.as_root("network namespaces need root"),
    pytest.mark.xdist_group("sshd"),
]

ZEROS = 20 << 20
ZEROS_SHA = hashlib.sha256(bytes(ZEROS)).hexdigest()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(4) as made:
        yield made


def relay(lab: Lab, argv: list[str], **more: Any) -> subprocess.CompletedProcess[bytes]:
    words, environment = relayed(lab.target(**more.pop("target", {})), argv, **more)
    assert "hunter2" not in " ".join(words)
    return subprocess.run(words, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, capture_output=True,
                          check=False, timeout=60)


def test_a_relayed_command_ends_as_the_one_on_the_host(lab: Lab) -> None:
    done = relay(lab, ["sh", "-c", "echo $PASSWORD; echo err >&2; exit 5"], env={"PASSWORD": "hunter2"})
    assert (done.returncode, done.stdout, done.stderr) == (5, b"hunter2\n", b"err\n")
    assert relay(lab, ["sh", "-c", "kill -9 $$"]).returncode == 137
    assert relay(lab, ["true"], target={"port": 23}).returncode == 113
    refusal = relay(lab, ["true"], target={"host_key": lab.hosts[1].key})
    assert refusal.returncode == 112 and b"shows another key" in refusal.stderr


def test_restic_keeps_a_dump_from_a_host_and_nothing_of_one_that_was_cut_off(lab: Lab, tmp_path: Path) -> None:
    environment = {**os.environ, "RESTIC_PASSWORD": "x", "RESTIC_REPOSITORY": str(tmp_path / "r"),
                   "RESTIC_CACHE_DIR": str(tmp_path / "c")}

    def restic(*words: str, **more: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["restic", *words], env={**environment, **more}, capture_output=True, check=False)

    assert restic("init").returncode == 0
    words, relaying = relayed(lab.target(), ["head", "-c", str(ZEROS), "/dev/zero"])
    assert restic("backup", "--stdin-filename", "d", "--stdin-from-command", "--", *words, **relaying).returncode == 0
    assert hashlib.sha256(restic("dump", "latest", "d").stdout).hexdigest() == ZEROS_SHA
    words, relaying = relayed(lab.target(), ["sh", "-c", "cat /dev/zero; : 4720"])
    cut = threading.Thread(target=lambda: (until(lambda: lab.processes(": 4720")), lab.kill_sessions()))
    cut.start()
    done = restic("backup", "--stdin-filename", "d", "--stdin-from-command", "--", *words, **relaying)
    cut.join()
    assert done.returncode != 0 and b"was lost" in done.stderr
    assert b"\n1 snapshots\n" in restic("snapshots").stdout
    until(lambda: not lab.processes("4720"))
