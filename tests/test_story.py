"""The demo, as a stranger starts it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that the database's account can pass through, whatever another pytest does meanwhile with the folder of them all."""
    with tempfile.TemporaryDirectory(prefix="opsctl-story-") as made:
        Path(made).chmod(0o711)
        yield Path(made)


def demo(*words: str) -> tuple[subprocess.CompletedProcess[str], dict[str, object]]:
    done = subprocess.run([sys.executable, "-m", "opsctl", "--json", "demo", *words], cwd=PACKAGE, text=True,
                          capture_output=True, stdin=subprocess.DEVNULL, timeout=900)
    return done, json.loads(done.stdout)["result"]


@pytest.mark.long
def test_the_whole_story_is_told_to_its_end_although_commands_are_killed_on_the_way(place: Path) -> None:
    """From the backups before the attack to the incident closed, the record verified, and the portal equal; the city lost no packet."""
    done, told = demo("--scale", "0.03", "--kill", "3", "--seed", "7", "--dir", str(place / "lab"))
    assert done.returncode == 0, done.stderr
    assert told["kills"] == 3
    assert told["verify_exit"] == 22
    assert told["tables_equal"] == told["tables"]
    assert told["files_equal"]
    assert told["isolated"] == 2
    assert int(str(told["city_packets"])) > 100
    assert told["incident"] and told["closed"] and told["public_open"]
    assert not (place / "lab").exists(), "the lab is gone again"


@pytest.mark.full
@pytest.mark.parametrize("seed", range(8))
def test_the_story_survives_more_kills(seed: int) -> None:
    done, told = demo("--scale", "0.03", "--kill", "12", "--seed", str(seed))
    assert done.returncode == 0, done.stderr
    assert int(str(told["kills"])) > 6


@pytest.mark.full
def test_the_portal_has_a_realistic_volume() -> None:
    done, told = demo()
    assert done.returncode == 0, done.stderr
    assert int(str(told["rows"])) >= 300_000
