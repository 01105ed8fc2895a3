"""A set of 1 GiB copied into another repository, beside ``restic copy`` of the same snapshots."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.bench.bench import Bench, call, environment, large_file, raw_restic
from tests.bench.measure import Cost, run, turns, wall
from tests.bench.table import Row, compare
from tests.lab.quick_key import make_quick


def rows(bench: Bench) -> list[Row]:
    place = bench.place("copies")
    machine = bench.machine(place / "m")
    large_file(machine.data / "large", bench.size(1 << 30, 1 << 22))
    call(machine, "backup", "run", "portal")
    far, password = machine.root / "far", machine.etc / "keys" / "repository-password"
    machine.configure(repositories=f"  far: {{url: {far}, password_file: {password}}}")
    text = (machine.etc / "opsctl.yaml").read_text()
    (machine.etc / "opsctl.yaml").write_text(text.replace("repository: main}", "repository: main, copies: [far]}"))
    call(machine, "backup", "init", "far")
    if bench.quick:  # a key's derivation would take most of the time
        make_quick(far, password.read_text().strip(), machine.state / "repositories" / "far.json")
    kept = place / "kept"
    for name in ("far", "state"):
        shutil.copytree(machine.root / name, kept / name)
    env = environment(machine)
    raw_env = raw_restic(machine, far, RESTIC_FROM_REPOSITORY=str(machine.store), RESTIC_FROM_PASSWORD_FILE=str(password))

    def again(name: str) -> None:
        shutil.rmtree(machine.root / name)
        shutil.copytree(Path(kept / name), machine.root / name)

    def ours() -> Cost:
        again("far")
        again("state")
        return call(machine, "backup", "copy", "portal", env=env)

    def raw() -> Cost:
        again("far")
        return run(["restic", "--no-cache", "copy"], env=raw_env, out=place / "said")

    took = turns(bench.rounds(3), ours=ours, raw=raw)
    again("far")
    again("state")
    call(machine, "backup", "copy", "portal", env=env)
    # Asked hourly for every copy, when mostly there is nothing to do.
    idle = turns(bench.rounds(3), ours=lambda: call(machine, "backup", "copy", "portal", env=env),
                 raw=lambda: run(["restic", "--no-cache", "copy"], env=raw_env, out=place / "said"))
    what = f"backup copy of {'1 GiB' if not bench.quick else '4 MiB'}"
    return [
        compare(what, wall(took["ours"]), wall(took["raw"]), beside="restic copy", at_most=1.05),
        compare(f"{what} that is there already", wall(idle["ours"]), wall(idle["raw"]), beside="restic copy"),
    ]
