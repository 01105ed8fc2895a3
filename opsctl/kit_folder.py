"""The layout of an emergency kit, and the installation from one: what `bootstrap.py --offline DIR` reads.

Standard library only. A folder of nothing but wheels does as well.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opsctl import apt
from opsctl.environments import SetupFailed
from opsctl.plain_file import read_plain, sha256_of

INDEX = "KIT.json"
WANTED = "WANTED"
"""Beside the packages: the names of those that are not there only for others."""
_CHANGED = "was changed, or the medium is damaged"
CODE, WHEELS, PACKAGES = "code", "wheels", "packages"
CONFIGURATION, KEYS, PRINT, ADDRESSES = "configuration", "keys", "print", "addresses"

Say = Callable[[str], None]


def wheels_of(folder: Path) -> Path:
    """Where the wheels lie in what `--offline` names."""
    inner = folder / WHEELS
    return inner if inner.is_dir() else folder


def packages_of(folder: Path) -> Path | None:
    """Where the Debian packages lie; None where there are none."""
    inner = folder / PACKAGES
    return inner if (inner / "Packages").is_file() else None


def not_installed(packages: Path) -> list[str]:
    """The packages that a kit is there for, and that dpkg does not have: programs, and servers to restore into."""
    wanted = (packages / WANTED).read_text("utf-8").split()
    known = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n"], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
    installed = {line.split()[0] for line in known.splitlines() if line.endswith(" installed")}
    return [name for name in wanted if name not in installed]


def read_index(folder: Path) -> Mapping[str, Any] | None:
    """The record of the index, whoever signed it; None where there is none. `SetupFailed` where it cannot be read."""
    try:
        found = json.loads(read_plain(folder / INDEX))
        files = found["record"]["files"]
        assert all(len(entry) == 2 for entry in files.values())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SetupFailed(f"{folder / INDEX} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        raise SetupFailed(f"{folder / INDEX} cannot be read: is this kit whole?") from error
    return dict(found["record"])


def differences(folder: Path, files: Mapping[str, Sequence[Any]], below: Iterable[str] = ()) -> Iterator[tuple[str, str]]:
    """(name, what is wrong with it) for each file that is not as the index says; of `below`, where given, only."""
    parts = tuple(f"{name}/" for name in below)
    inside = folder.resolve()
    for name, (size, digest) in sorted(files.items()):
        if parts and not name.startswith(parts):
            continue
        path = folder / name
        try:
            if not path.resolve().is_relative_to(inside):
                yield name, "lies elsewhere, through a link"
            elif sha256_of(path, size) != digest:
                yield name, _CHANGED
        except (FileNotFoundError, NotADirectoryError):
            yield name, "is missing"
        except RuntimeError:
            yield name, "is a link in a circle"
        except OSError as error:
            yield name, _CHANGED if error.errno == errno.EFBIG else f"cannot be read: {error.strerror}"


def refuse_damaged(folder: Path) -> None:
    """`SetupFailed` where what is installed from is not what the index says. Who signed that, `kit check` says."""
    record = read_index(folder)
    if record is None:
        return
    wrong = list(differences(folder, record["files"], (CODE, WHEELS, PACKAGES)))
    if wrong:
        named = "; ".join(f"{name} {what}" for name, what in wrong[:5])
        raise SetupFailed(f"the kit in {folder} is not whole: {named}{f' and {len(wrong) - 5} more' if len(wrong) > 5 else ''}")


@contextmanager
def apt_from(packages: Path, status: Path | None = None) -> Iterator[list[str]]:
    """Options for apt-get that let it know no packages but these, and touch none of its own lists.

    `status`: another file that says what is installed, instead of this machine's.
    """
    with tempfile.TemporaryDirectory(prefix="opsctl-apt-") as made:
        place = Path(made)
        place.chmod(0o755)  # apt reads as another user
        for name in ("lists/partial", "archives/partial", "parts"):
            (place / name).mkdir(parents=True)
        source = str(packages).replace(" ", "%20")
        (place / "sources.list").write_text(f"deb [trusted=yes] file:{source} ./\n", "utf-8")
        options = {
            "Dir::Etc::SourceList": place / "sources.list", "Dir::Etc::SourceParts": place / "parts",
            "Dir::Etc::Preferences": place / "none", "Dir::Etc::PreferencesParts": place / "parts",
            "Dir::State::Lists": place / "lists", "Dir::Cache::Archives": place / "archives",
            "Dir::Cache::pkgcache": "", "Dir::Cache::srcpkgcache": "", "APT::Sandbox::User": "root",
            **({"Dir::State::Status": status} if status is not None else {}),
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        _apt(["apt-get", *words, "update"])
        yield words


def install_packages(folder: Path, names: Sequence[str], say: Say) -> None:
    """Install packages out of the kit, with what they need, without a network. `SetupFailed` where apt says no."""
    packages = packages_of(folder)
    if packages is None:
        raise SetupFailed(f"{folder} holds no Debian packages; to be brought by hand: {' '.join(names)}")
    if shutil.which("apt-get") is None:
        raise SetupFailed("the kit's packages are Debian's, and there is no apt-get here")
    programs_only = "postgresql" in names
    if programs_only:
        apt.carry_out([apt.Write(apt.NO_CLUSTER, "create_main_cluster = false\n")], say)
    if "openssh-server" in names:
        apt.carry_out([apt.Write(apt.NO_SSHD, "put here by opsctl's kit; remove it if you want sshd\n")], say)
    try:
        with apt_from(packages) as options:
            argv = ["apt-get", *apt.PATIENT, *options, "install", "-y", "--no-install-recommends", *names]
            say(f"  from the kit: {' '.join(names)}")
            _apt(argv)
    finally:
        if programs_only:
            Path(apt.NO_CLUSTER).unlink(missing_ok=True)


def _apt(argv: Sequence[str]) -> None:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", env={**os.environ, **apt.QUIET}, check=False)
    if done.returncode:
        last = "\n".join(f"    {line}" for line in done.stdout.splitlines()[-15:])
        raise SetupFailed(f"`{shlex.join(argv)}` ended with {done.returncode}:\n{last}")
