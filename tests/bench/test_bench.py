"""Each benchmark runs in its small variant and prints its rows; what it measures is not judged here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import table
from tests.bench.__main__ import NAMES, main, measure
from tests.bench.bench import Call, Notes, own_cpu, own_wall
from tests.bench.measure import Cost, Failed, python, run, turns
from tests.bench.table import Row

ROWS = {
    "start": ("opsctl --help", "opsctl --version"),
    "status": (
        "status, 12 backups, one repository",
        "a repository each",
    ),
    "unchanged": (
        "nothing changed: wall",
        "nothing changed: processor",
        "beside runrestic",
        "beside npbackup",
    ),
    "first": ("first time, 4 MiB: wall", "our own processor time"),
    "calls": ("restic calls beside its 1", "restic calls beside its 3", "our own time"),
    "listing": ("listed by Repository.ls", "finds one file", "its memory"),
    "proofs": ("proof: full", "proof: counts"),
    "growth": ("growth of the repository",),
    "mariadb": ("rows of MariaDB with proof", "restic with mariadb-dump"),
    "copies": ("backup copy of 4 MiB", "that is there already"),
    "drills": ("drill of 4 MiB", "restic restore --verify", "rows of PostgreSQL"),
    "restore": ("restore of 4 MiB", "restore of 200 files", "rows of PostgreSQL, with proof", "pg_restore -j2"),
    "signals": ("signals of a new set", "old sets"),
    "remote": ("files of a host", "streamed from a host", "hosts at once"),
    "isolate": ("hosts isolated, confirmed, cut, probed", "two bare connections each", "loaded", "memory of the controller", "silent"),
    "gateway": ("hosts cut off at a gateway", "the rules of one host"),
    "journal": ("each flushed: one", "entries verified: one"),
    "incidents": ("incident show, 200 entries", "status --html, 200 entries"),
    "reports": ("report draft cert-in, one PDF", "English and Hindi", "entries in the timeline"),
    "playbooks": ("playbooks check, all that are shipped",),
    "evidence": ("MiB of logs in 16 files, hashed on both sides", "logs of 2 kB"),
    "steps": ("nothing to do: time of one", "one change each: time of one", "memory"),
}


def test_every_benchmark_is_run_here() -> None:
    assert set(ROWS) == set(NAMES)
    modules = {path.stem for path in Path(table.__file__).parent.glob("*.py")}
    assert set(NAMES) <= modules


#: It starts hosts or servers, takes many sets, or compares three ways of one thing, each several times.
SLOW = ("signals", "remote", "isolate", "gateway", "evidence", "drills", "copies", "restore", "growth", "mariadb")


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.full) if name in SLOW else name for name in NAMES])
def test_a_benchmark_prints_its_rows(name: str, _made_machine: Path) -> None:
    rows, failed = measure([name], quick=True, pristine=_made_machine)
    assert not failed
    said = table.markdown(rows)
    for words in ROWS[name]:
        assert words in said


def test_the_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["start", "--quick"]) == 0
    said = capsys.readouterr().out
    assert " cores, Python " in said
    assert "| opsctl --help" in said


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["speed"])
    assert "there is no benchmark speed" in capsys.readouterr().err


def test_things_are_measured_in_turn() -> None:
    order: list[str] = []

    def measure(name: str) -> Cost:
        order.append(name)
        return Cost(float(len(order)), 0.0)

    found = turns(2, ours=lambda: measure("ours"), raw=lambda: measure("raw"))
    assert order == ["ours", "raw", "ours", "raw"]
    assert [cost.wall for cost in found["raw"]] == [2.0, 4.0]


def test_the_processor_time_of_children_counts() -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    inner = run(python("-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}])"))
    assert inner.cpu >= 0.3


def test_a_program_that_fails_is_no_measurement() -> None:
    with pytest.raises(Failed, match="ended with 3"):
        run(python("-c", "raise SystemExit(3)"))
    assert run(python("-c", "raise SystemExit(3)"), codes=None).code == 3


def test_our_own_time_is_what_no_restic_call_covers() -> None:
    # Two that overlap from 1 to 4, one from 5 to 6.
    calls = [Call("backup", 1, 3, 1.5), Call("dump", 2, 4, 1.0), Call("snapshots", 5, 6, 0.5)]
    assert own_wall(Cost(10.0, 4.0), calls) == 6.0
    assert own_cpu(Cost(10.0, 4.0), calls) == 1.0


def test_calls_are_noted_with_their_command(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    restic = str(tmp_path / "programs" / "restic")
    run([restic, "version"], env={"PATH": notes.path})
    run(
        [restic, "--no-cache", "cat", "config", "-r", str(tmp_path / "nowhere")],
        env={"PATH": notes.path},
        codes=None,
    )
    found = notes.take()
    assert [call.command for call in found] == ["cat"]
    assert found[0].begun < found[0].ended and found[0].cpu > 0
    assert notes.take() == []


def test_rows_say_whether_the_aim_is_met() -> None:
    assert table.compare("x", 2.0, 1.0, at_most=2).met is True
    assert table.compare("x", 2.1, 1.0, at_most=2).met is False
    assert table.compare("x", 2.1, 1.0).met is None
    assert table.limit("x", 3, "3", at_most=3, aim="≤ 3").met is True


def test_the_last_table_is_kept_between_its_marks(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{table.BEGIN}old\n{table.END}after\n")
    for text in ("one\n", "two\n"):
        table.keep(text, readme)
    assert readme.read_text() == f"before\n{table.BEGIN}two\n{table.END}after\n"


def test_the_table_is_aligned() -> None:
    lines = table.markdown([Row("a", "1 ms"), Row("longer", "1", "2", 0.5, "< 1", True)]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[3].split("|")[4].strip() == "0.50"
