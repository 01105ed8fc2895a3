"""Damage that a verification found stays in sight, from what is recorded in the repository, until a reading finds it mended."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.actions.test_verify import fill, flip
from tests.machine import Kept, Machine


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, _made_machine: Path) -> Kept:
    """A machine with two sets, a byte flipped in a pack of both, and a reading of all that found it."""
    root = tmp_path_factory.mktemp("damage") / "m"
    shutil.copytree(_made_machine, root, symlinks=True)
    machine = Machine(root)
    machine.configure()
    fill(machine, 3)
    machine("backup", "run", expect=0)
    machine.at("2026-12-15T02:30:00+05:30")
    machine("backup", "run", expect=0)
    shutil.copytree(machine.store, root / "as it was")
    flip(machine)
    machine.at("2026-12-16T02:30:00+05:30")
    machine("verify", "--level", "data", "--share", "all", expect=22)
    machine.at("2026-12-16T03:30:00+05:30")
    return Kept(machine, tmp_path_factory.mktemp("kept") / "m")


@pytest.fixture
def hurt(made: Kept) -> Machine:
    return made.again()


def states(machine: Machine, expect: int = 0) -> list[str]:
    return [one["state"] for one in machine.json("backup", "list", expect=expect).result["sets"]]


def mend(machine: Machine) -> None:
    """Bring the packs back as they were, as somebody with a copy would."""
    for path in (machine.root / "as it was" / "data").glob("*/*"):
        place = machine.store / path.relative_to(machine.root / "as it was")
        place.chmod(0o600)
        shutil.copyfile(path, place)


def test_promise_2_a_set_with_damage_that_was_named_is_not_called_good(hurt: Machine) -> None:
    assert states(hurt) == ["damaged", "damaged"]
    hurt.forget()
    hurt("backup", "init", expect=0)
    listed = hurt("backup", "list", "portal", expect=0).out
    assert listed.count("is damaged: found on 2026-12-15 21:00 UTC by `verify --level data`") == 2
    shown = hurt.json("backup", "show", "newest", expect=0).result["sets"][0]
    assert shown["state"] == "damaged" and shown["damage"][0]["object"].startswith("data/")
    assert "is damaged: found on" in hurt("backup", "show", "latest", expect=0).out
    assert hurt.json("status", "--refresh", expect=5).result["backups"]["portal"]["state"] == "damaged"
    said = hurt("restore", "set", "portal", "--into", str(hurt.root / "back"), expect=22).err
    assert "holds damage: pack" in said


def test_a_quick_look_reminds_until_somebody_reads_the_pack_again(hurt: Machine) -> None:
    quick = hurt.json("verify", expect=22)
    error = quick.errors[0]
    assert "nobody has read it since" in error["message"] and len(error["details"]["sets"]) == 2
    assert quick.result["steps"][0]["result"]["findings"] == 0
    share = error["hint"].split("--share ")[1]
    mend(hurt)
    hurt("verify", expect=22)
    assert states(hurt) == ["damaged", "damaged"], "that it was mended has to be seen"
    other = f"{int(share.split('/')[0]) % 256 + 1}/256"
    hurt("verify", "--level", "data", "--share", other, expect=22)
    assert "nothing wrong (sets: 2 good, " in hurt("verify", "main", "--level", "data", "--share", share, expect=0).out
    assert states(hurt) == ["good", "good"]
    hurt("verify", expect=0)
    hurt("status", expect=0)


def test_backups_of_one_run_have_one_set_id_and_each_its_own_damage(machine: Machine) -> None:
    (machine.root / "more").mkdir()
    (machine.root / "more" / "minutes").write_bytes(os.urandom(1 << 16))
    machine.configure(sources=f"  more: {{kind: paths, paths: [{machine.root / 'more'}]}}",
                      more="  tax: {sources: [more], repository: main}")
    fill(machine, 2)
    run = machine.json("backup", "run", expect=0).result["backups"]
    assert run["portal"]["set"] == run["tax"]["set"]
    flip(machine)
    said = machine.json("verify", "--level", "data", "--share", "all", expect=22)
    assert said.errors[0]["details"]["of"] == [f"portal/{run['portal']['set']}"]
    assert said.result["steps"][0]["result"]["sets"] == {"damaged": 1, "good": 1}
    assert said.errors[0]["message"].endswith(f"; set {run['portal']['set']} of portal")
    listed = machine.json("backup", "list", expect=0).result["sets"]
    assert {one["backup"]: one["state"] for one in listed} == {"portal": "damaged", "tax": "good"}
    assert {name: one["state"] for name, one in machine.json("status", expect=5).result["backups"].items()} == {
        "portal": "damaged", "tax": "ok"}


def test_the_nightly_reading_looks_again_at_what_was_damaged(hurt: Machine) -> None:
    pack = str(hurt.json("verify", "--level", "data", expect=22).errors[0]["details"]["object"]).removeprefix("data/")
    mend(hurt)
    hurt.at("2026-12-17T03:30:00+05:30")
    read = hurt.json("verify", "--level", "data", expect=0).result["steps"][0]["result"]["shares"]
    assert f"{int(pack[:2], 16) % 30 + 1}/30" in read, "though it was found by a reading of all, not of a share"
    assert states(hurt) == ["good", "good"]


def test_a_set_that_was_taken_since_may_lean_on_what_is_damaged(hurt: Machine) -> None:
    hurt.at("2026-12-18T02:30:00+05:30")
    hurt("backup", "run", expect=0)
    assert states(hurt) == ["damaged", "damaged", "good"]
    last = hurt("backup", "list", expect=0).out.splitlines()[-1]
    assert "may need what was found damaged before it was taken" in last
    hurt("verify", "--level", "data", "--share", "all", expect=22)
    assert states(hurt) == ["damaged"] * 3


def test_a_pack_that_no_index_names_is_read_and_told_of(hurt: Machine, tmp_path: Path) -> None:
    """What a kill leaves: a pack without an index. restic itself reads it with no share."""
    mend(hurt)
    place = tmp_path / "killed"
    shutil.copytree(hurt.store, place)
    fill(hurt, 1)
    before = {path.name for path in (hurt.store / "data").glob("*/*")}
    hurt.restic("backup", "-q", str(hurt.data), repository=place)
    new = [path for path in (place / "data").glob("*/*") if path.name not in before]
    for path in new:
        (hurt.store / "data" / path.parent.name).mkdir(exist_ok=True)
        shutil.copyfile(path, hurt.store / "data" / path.parent.name / path.name)
    words = ("verify", "--level", "data", "--share")
    said = hurt.json(*words, "all", expect=0).result["steps"][0]["result"]["unreferenced"]
    assert said == {"packs": len(new), "read": len(new), "bytes": sum(path.stat().st_size for path in new)}
    share = (int(new[0].name[:2], 16) + 1) % 256 + 1
    assert "harmless, no set needs them" in hurt(*words, f"{share}/256", expect=0).out
    bad = hurt.store / "data" / new[0].parent.name / new[0].name
    bad.write_bytes(bad.read_bytes()[:-1])
    error = hurt.json(*words, "all", expect=22).errors[0]
    assert (error["details"]["kind"], error["details"]["object"]) == ("junk-object", f"data/{new[0].name}")
    hurt("status", expect=5)
    bad.unlink()
    hurt(*words, "all", expect=0)
    hurt("status", expect=0)
