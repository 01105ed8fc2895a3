"""``python3 -m tests.bench [NAME…] [--quick] [--write]``: measure, and print one table."""

from __future__ import annotations

import argparse
import compileall
import importlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from opsctl.errors import OpsError
from tests.bench import table
from tests.bench.bench import Bench
from tests.bench.measure import PACKAGE, Failed
from tests.bench.table import Row

#: The modules beside this one that measure something, in the order of the table.
NAMES = ("start", "status", "unchanged", "first", "calls", "listing", "proofs", "growth", "steps", "mariadb", "copies", "drills", "restore", "signals",
         "remote", "isolate", "gateway", "journal", "incidents", "reports", "evidence", "playbooks")


def main(argv: Sequence[str] | None = None) -> int:
    """0, or 1 where something could not be measured. An aim that is missed is a row, not an error."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.bench", description="Measure opsctl and print one table.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {' '.join(NAMES)}; all if none is given")
    parser.add_argument("--quick", action="store_true", help="small sizes, once; the numbers say nothing")
    parser.add_argument("--write", action="store_true", help="keep the table in tests/bench/README.md")
    said = parser.parse_args(argv)
    unknown = [name for name in said.names if name not in NAMES]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]}; there are: {' '.join(NAMES)}")
    found, failed = measure(said.names or NAMES, quick=said.quick)
    text = f"{table.conditions(said.quick)}\n{table.markdown(found)}"
    print(text)
    if said.write:
        table.keep(f"\n{text}\n")
    return 1 if failed else 0


def measure(names: Sequence[str], *, quick: bool, pristine: Path | None = None) -> tuple[list[Row], list[str]]:
    """The rows of these benchmarks, and the names of those that could not be measured.

    ``pristine``: see Bench.
    """
    # As an installed opsctl has it: where bytecode cannot be kept, every start would compile what was edited last.
    compileall.compile_dir(PACKAGE / "opsctl", quiet=2)
    root = Path(tempfile.mkdtemp(prefix="opsctl-bench-"))
    root.chmod(0o711)  # servers of other accounts have to pass
    bench = Bench(root, quick, say=lambda text: print(text, file=sys.stderr, flush=True), pristine=pristine)
    found: list[Row] = []
    failed: list[str] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # to clean up
    try:
        for name in names:
            bench.say(f"{name} …")
            try:
                found += importlib.import_module(f"tests.bench.{name}").rows(bench)
            except (Failed, OpsError) as error:
                failed.append(name)
                found.append(Row(name, f"not measured: {error}"))
            shutil.rmtree(root / name, ignore_errors=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)
        signal.signal(signal.SIGTERM, before)
    return found, failed


if __name__ == "__main__":
    sys.exit(main())
