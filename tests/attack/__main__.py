"""``python3 -m tests.attack [WORD…] [--times N] [--write]``: try every case, and print the table of hits and false alarms."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from opsctl.shells import local
from tests.attack.cases import CASES, Case, Trial, attempt
from tests.lab.quick_key import make_quick
from tests.machine import PACKAGE, Machine

README = PACKAGE / "README.md"
BEGIN, END = "<!-- attacks -->\n", "<!-- /attacks -->\n"


def main(argv: Sequence[str] | None = None) -> int:
    """0; what is missed is in the table, not an error."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.attack", description="Try attackers and innocent work against the change signals.")
    parser.add_argument("words", nargs="*", metavar="WORD", help="only cases with one of these words in their name")
    parser.add_argument("--times", type=int, default=1, help="how often each is tried, by another chance each time")
    parser.add_argument("--write", action="store_true", help="keep the table in README.md")
    said = parser.parse_args(argv)
    chosen = [case for case in CASES if not said.words or any(word in case.name for word in said.words)]
    text = table([row(case, said.times) for case in chosen])
    print(text)
    if said.write:
        README.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{text}\n{END}", README.read_text(), flags=re.S))
    return 0


def row(case: Case, times: int) -> tuple[str, ...]:
    """A line of the table. Attacks are tried with canaries as well."""
    without = [trial(case, seed, canaries=False) for seed in range(times)]
    with_canaries = [trial(case, seed, canaries=True) for seed in range(times)] if case.attack and case.kind == "files" else []
    early = sum("suspect" in one.quiet for one in without)
    if case.attack:
        return ("attack", case.name, noticed(without), noticed(with_canaries) if with_canaries else "")
    wrong = sum(one.noticed is not None for one in without) + early
    return ("innocent", case.name, f"{wrong} false alarms in {times * (case.sets + 2)} sets" if wrong else "no alarm", "")


def noticed(trials: Sequence[Trial]) -> str:
    """``3 of 3, in set 2 to 3``."""
    hits = sorted(one.noticed for one in trials if one.noticed is not None)
    if not hits:
        return f"**0 of {len(trials)}**"
    when = f"set {hits[0]}" if hits[0] == hits[-1] else f"set {hits[0]} to {hits[-1]}"
    return f"{len(hits)} of {len(trials)}, in {when}"


def trial(case: Case, seed: int, *, canaries: bool) -> Trial:
    root = Path(tempfile.mkdtemp(prefix="opsctl-attack-"))
    try:
        machine = Machine(root / "m")
        machine.make_key()
        machine.configure()
        machine("backup", "init", expect=0)
        make_quick(machine.store, "for tests only", machine.state / "repositories" / "main.json")
        found = attempt(case, machine, seed, canaries=canaries)
    finally:
        shutil.rmtree(root, ignore_errors=True)
        local.reset()
    print(f"{case.name}{', with canaries' if canaries else ''}: {' '.join(found.quiet)} | {' '.join(found.verdicts)} {found.why[:300]}", file=sys.stderr, flush=True)
    return found


def table(rows: Sequence[tuple[str, ...]]) -> str:
    return "\n".join(_lines(rows))


def _lines(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    yield "| | what happens | noticed | noticed with two canaries |"
    yield "|---|---|---|---|"
    for one in rows:
        yield f"| {' | '.join(one)} |"


if __name__ == "__main__":
    sys.exit(main())
