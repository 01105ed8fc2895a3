"""A virtual environment that holds exactly what a lock file names, and opsctl's own code beside it.

Standard library only. The code itself is not built or copied into the environment: one `.pth` line points to
it, which needs no build tool and no network.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Say = Callable[[str], None]

STAMP = "opsctl-stamp.json"
# The kernel cuts a longer first line, and ends it at a space.
LONGEST_SHEBANG = 120


class SetupFailed(Exception):
    """A step of the set-up failed; the message is for the person: the command and its last lines."""


def ensure(venv: Path, code: Path, locks: Sequence[Path], kit: Path | None, say: Say) -> bool:
    """Make `venv` hold what the last of `locks` names, and find opsctl in `code`; True if something was done.

    The last lock holds all that the others do. `kit` is a folder of wheels to install from without a network.
    After a call that was killed half-way the next one starts again. Raises `SetupFailed`.
    """
    if is_ready(venv, code, locks):
        return False
    with _alone(locks[-1], say):
        if is_ready(venv, code, locks):
            return False
        wanted = _digests(locks)
        stamp = _read_stamp(venv)
        held: Mapping[str, str] = stamp.get("locks", {})
        unchanged = all(held.get(name, digest) == digest for name, digest in wanted.items())
        if unchanged and _is_ours(venv, code, stamp):
            say(f"adding to {venv} what {locks[-1].name} names…")
            (venv / STAMP).unlink()
        else:
            say(f"setting up {venv} (first time, about a minute)…")
            held = {}
            _make(venv, kit)
        install(venv, locks[-1], kit)
        _point_to(venv, code)
        _write_whole(venv / STAMP, json.dumps(_stamp(venv, code, {**held, **wanted}), indent=1) + "\n")
    return True


def is_ready(venv: Path, code: Path, locks: Sequence[Path]) -> bool:
    """Whether `venv` is finished and holds what `locks` name, by its stamp; starts no program."""
    stamp = _read_stamp(venv)
    held = stamp.get("locks", {})
    holds = all(held.get(name) == digest for name, digest in _digests(locks).items())
    return holds and _is_ours(venv, code, stamp)


def _digests(locks: Sequence[Path]) -> dict[str, str]:
    return {lock.name: hashlib.sha256(lock.read_bytes()).hexdigest() for lock in locks}


def _is_ours(venv: Path, code: Path, stamp: Mapping[str, Any]) -> bool:
    # An upgraded system Python, or a checkout that was moved, leaves an environment that only looks right.
    same = stamp == _stamp(venv, code, stamp.get("locks", {}))
    return same and os.access(python_of(venv), os.X_OK)


def _stamp(venv: Path, code: Path, locks: Mapping[str, str]) -> dict[str, Any]:
    python = str(python_of(venv).resolve())
    return {"code": str(code), "venv": str(venv), "python": python, "locks": dict(locks)}


def _read_stamp(venv: Path) -> dict[str, Any]:
    try:
        stamp = json.loads((venv / STAMP).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def python_of(venv: Path) -> Path:
    return venv / "bin" / "python"


def needs_venv_package(kit: Path | None) -> bool:
    """Whether pip cannot be put into a new environment: Debian keeps `ensurepip` in a package of its own."""
    importlib.invalidate_caches()
    return importlib.util.find_spec("ensurepip") is None and _pip_of(kit) is None


def _pip_of(kit: Path | None) -> Path | None:
    return max(kit.glob("pip-*.whl"), default=None) if kit else None


def _make(venv: Path, kit: Path | None) -> None:
    if venv.is_symlink() or (venv.exists() and not (venv / "pyvenv.cfg").exists() and any(venv.iterdir())):
        raise SetupFailed(f"{venv} is there, but is no virtual environment of ours: move it away")
    shutil.rmtree(venv, ignore_errors=True)
    # Inside another environment this is the Python that it was made from: ours must outlive that one.
    base = getattr(sys, "_base_executable", None) or sys.executable
    run([base, "-m", "venv", *(["--without-pip"] if _pip_of(kit) else []), str(venv)])


def install(venv: Path, lock: Path, kit: Path | None) -> None:
    """Install what `lock` names, each file checked against its hash; the machine's pip settings hold."""
    pip = _pip_of(kit)
    # A wheel can be run from: so a kit needs no ensurepip.
    argv = [str(python_of(venv)), *([f"{pip}/pip"] if pip else ["-m", "pip"]), "install"]
    argv += ["--quiet", "--disable-pip-version-check", "--no-input", "--no-user"]
    if kit:
        argv += ["--no-index", "--find-links", str(kit)]
    run([*argv, "--require-hashes", "-r", str(lock)])


def _point_to(venv: Path, code: Path) -> None:
    folders = sorted((venv / "lib").glob("python3.*/site-packages"))
    if not folders:
        raise SetupFailed(f"{venv} has no site-packages folder")
    for folder in folders:
        _write_whole(folder / "opsctl.pth", f"{code}\n")
    put_launcher(venv / "bin" / "opsctl", python_of(venv))


def put_launcher(path: Path, python: Path, *options: str) -> None:
    """Write the program `opsctl`, run by `python` with `options`."""
    _write_whole(path, launcher(str(python), *options), 0o755)


def launcher(python: str, *options: str) -> str:
    first = " ".join(["#!" + python, *options])
    if len(first) > LONGEST_SHEBANG or any(sign.isspace() for sign in python):
        # The same file is a shell script that runs Python, and to Python a string.
        first = f"#!/bin/sh\n'''exec' {shlex.join([python, *options])} \"$0\" \"$@\"\n' '''"
    return f"{first}\nimport sys\n\nfrom opsctl.cli import main\n\nsys.exit(main())\n"


def run(argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
    """Run quietly; on failure raise `SetupFailed` with the command and the last lines it printed."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=env,
            check=False,
        )
    except OSError as error:
        raise SetupFailed(f"`{shlex.join(argv)}` cannot be run: {error}") from error
    if done.returncode:
        last = "\n".join(f"    {line}" for line in done.stdout.splitlines()[-15:])
        raise SetupFailed(f"`{shlex.join(argv)}` ended with {done.returncode}:\n{last}")


@contextmanager
def _alone(file: Path, say: Say) -> Iterator[None]:
    with file.open("rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another set-up of the same folder…")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text, "utf-8")
    fresh.chmod(mode)
    fresh.replace(path)
