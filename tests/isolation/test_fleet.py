"""Many hosts at once, some of which are silent, changed or lack what it takes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from opsctl.shells import local
from tests.lab.fleet import Fleet
from tests.lab.sshd import until
from tests.machine import PACKAGE, Machine

pytestmark = [
    pytest.mark.lab,
    pytest.mark.as_root("network namespaces need root"),
    pytest.mark.xdist_group("isolation"),
]

CHANGED, WITHOUT_NFT = 1, 2


@pytest.fixture(params=[12, pytest.param(412, marks=pytest.mark.full)])
def fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    with Fleet(request.param, without_nft={WITHOUT_NFT}) as made:
        yield made


@pytest.fixture
def machine(tmp_path: Path, fleet: Fleet) -> Iterator[Machine]:
    found = Machine(tmp_path / "m")
    fleet.configure(found.etc, found.state, changed={CHANGED})
    yield found
    local.reset()


def test_hosts_that_are_silent_changed_or_lack_nft_hold_nobody_up(machine: Machine, fleet: Fleet) -> None:
    silent = range(3, 3 + fleet.count // 4)
    fleet.silence(silent)
    said = machine.json("isolate", "apply", "--zone", "fleet", "--retry-for", "0s", expect=3)
    ends = {name: end["outcome"] for name, end in said.result["hosts"].items()}
    bad = {CHANGED, WITHOUT_NFT, *silent}
    assert {name for name, outcome in ends.items() if outcome != "changed"} == {f"f{number}" for number in bad}
    codes = {error["where"]: error["code"] for error in said.errors}
    assert codes == {f"f{CHANGED}": 12, f"f{WITHOUT_NFT}": 20, **{f"f{number}": 13 for number in silent}}
    # Where silent hosts took the turns of others, nothing was done before the first of them was given up.
    done = {name: end["seconds"] for name, end in said.result["hosts"].items()}
    assert min(done[name] for name, outcome in ends.items() if outcome == "changed") < min(done[f"f{number}"] for number in silent)
    assert said.result["release"].endswith("isolate release --zone fleet")
    for number in {0, 3 + len(silent), fleet.count - 1}:
        rules = fleet.run(number, "nft", "list", "tables")
        assert "inet opsctl_iso" in rules and "netdev opsctl_iso" in rules
    assert fleet.run(CHANGED, "nft", "list", "tables") == ""


def test_a_fleet_is_gone_with_the_one_that_made_it() -> None:
    script = ("import time; from tests.lab.fleet import Fleet\n"
              "with Fleet(2) as made: print(made.place, made._one, made._link, flush=True); time.sleep(600)")
    maker = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=PACKAGE, start_new_session=True)
    assert maker.stdout is not None
    place, one, link = maker.stdout.readline().split()
    try:
        assert Path(f"/proc/{one}").exists() and Path(f"/sys/class/net/{link}").exists()
    finally:
        maker.kill()
        maker.communicate()
        shutil.rmtree(place)
    until(lambda: not Path(f"/proc/{one}").exists() and not Path(f"/sys/class/net/{link}").exists())
    assert place not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
