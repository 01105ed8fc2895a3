"""The Python packages of a kit: what the lock file names, as wheels for the Python that runs this."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from opsctl.errors import ProgramFailed
from opsctl.shells.interface import Shell

_SECONDS = 900.0
_SYSTEM = Path("/usr/share/python-wheels")


def fetch(lock: Path, folder: Path, shell: Shell) -> None:
    """Put a wheel of everything that ``lock`` names, and pip's own, into ``folder``; each is held against its hash.

    Only wheels: on the machine of the emergency there is nothing to build with. Where they come from is a setting of pip.
    ProgramFailed where one cannot be had.
    """
    folder.mkdir()
    pip = next(_pips(), None)
    if pip is None:
        shell.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), "pip"], timeout=_SECONDS)
    else:
        shutil.copyfile(pip, folder / pip.name)
    runner = [f"{pip}/pip"] if pip is not None else ["-m", "pip"]
    # Our own environment need not hold pip: a wheel of it can be run from.
    done = shell.run([sys.executable, *runner, "download", "--quiet", "--disable-pip-version-check", "--no-input",
                      "--only-binary", ":all:", "--require-hashes", "--dest", str(folder), "-r", str(lock)],
                     timeout=_SECONDS, accept=None, env=_settings())
    if done.code:
        said = [line for line in done.errors.splitlines() if line.startswith("ERROR")] or done.errors.splitlines()[-3:]
        raise ProgramFailed(f"pip could not fetch what {lock.name} names: {'; '.join(said)}",
                            hint="is there a network, or a mirror in pip's settings?")


def _pips() -> Iterator[Path]:
    found = importlib.util.find_spec("ensurepip")
    places = [Path(found.origin).parent / "_bundled"] if found is not None and found.origin else []
    for place in (*places, _SYSTEM):
        yield from sorted(place.glob("pip-*.whl"), reverse=True)


def _settings() -> dict[str, str]:
    """pip's own settings out of our environment: a shell starts programs without it."""
    return {name: text for name, text in os.environ.items() if name.startswith(("PIP_", "XDG_CONFIG"))}
