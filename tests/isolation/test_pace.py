"""In which order hosts are cut off, and when the rest is not begun."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from opsctl.isolation import calling
from opsctl.shells import local
from tests.lab.isolation import Lab
from tests.machine import Machine, Said

pytestmark = [
    pytest.mark.lab,
    pytest.mark.as_root("network namespaces need root"),
    pytest.mark.xdist_group("isolation"),
]
NAMES = ("h0", "h1", "h2")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(3) as made:
        yield made


@pytest.fixture
def machine(tmp_path: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """``h0`` shows another key than the one that is pinned for it."""
    monkeypatch.setattr(calling, "WITHIN", 0.3)  # nothing here is far away
    found = Machine(tmp_path / "m")
    found.configure(f"state: {found.state}\n")
    lab.configure(found.etc, lab.config(*NAMES).replace(lab.hosts["h0"].key, lab.hosts["h1"].key, 1))
    yield found
    for name in NAMES:
        lab.run(name, ["nft", "flush", "ruleset"])
    local.reset()


def cut_off(lab: Lab) -> list[str]:
    return [name for name in NAMES if "opsctl_iso" in lab.run(name, ["nft", "-s", "list", "ruleset"])]


def outcomes(said: Said) -> list[str]:
    return [said.result["hosts"][name]["outcome"] for name in NAMES]


def test_a_canary_that_fails_leaves_the_rest_open(machine: Machine, lab: Lab) -> None:
    said = machine.json("isolate", "apply", *NAMES, "--canary", "1", "--tolerate", "3", expect=12)
    assert outcomes(said) == ["failed", "skipped", "skipped"] and cut_off(lab) == []
    told = machine("isolate", "apply", *NAMES, "--canary", "1", expect=12)
    assert "h1: NOT isolated: not begun: the canary h0 failed" in told.err
    assert "release with" not in told.out + told.err  # nothing was touched
    machine("isolate", "apply", "h1", "h2", "h0", "--canary", "2", "--tolerate", "1", expect=3)
    assert cut_off(lab) == ["h1", "h2"]


def test_waves_and_a_stop_after_failures(machine: Machine, lab: Lab) -> None:
    said = machine.json("isolate", "apply", "h1", "h0", "h2", "--waves", "1", "--stop-after", "1", expect=3)
    assert outcomes(said) == ["failed", "changed", "skipped"] and cut_off(lab) == ["h1"]
    machine("isolate", "apply", "h0", "h2", "--waves", "1", "--tolerate", "50%", expect=3)
    assert cut_off(lab) == ["h1", "h2"]
