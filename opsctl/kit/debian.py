"""The Debian packages of a kit: the programs that opsctl calls, with everything that they need on a bare machine."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

from opsctl import apt, kit_folder, programs
from opsctl.errors import ProgramFailed
from opsctl.plain_file import sha256_of
from opsctl.shells.interface import Shell

_SECONDS = 1800.0
#: What a controller needs that no program of the list stands for, and Python itself.
ALSO = ("python3", "ca-certificates", "tzdata")
#: Programs for a machine that has lost everything: servers to restore into, a host's own door, a store.
SERVERS = {"postgresql": ("postgresql",), "mariadb": ("mariadb-server-core", "mariadb-client")}
#: What those need that come from the next release.
FOR_SPECIAL = ("adduser", "libc6")
TOOLS = ("openssh-client", "openssh-server", "nftables", "iproute2", "restic", "restic-rest-server", "postgresql-client")


def wanted(kinds: Collection[str]) -> tuple[str, ...]:
    """The packages to bring for sources of these kinds."""
    needed = [program.package for program in programs.needed("use", kinds)]
    servers = [package for kind, packages in SERVERS.items() if kind in kinds for package in packages]
    return tuple(sorted({*needed, *TOOLS, *servers, *ALSO}))


def fetch(names: Sequence[str], folder: Path, shell: Shell) -> None:
    """Put packages and all that they depend on into ``folder``, as apt on this machine would install them on a bare one.

    ProgramFailed where apt does not know one, or cannot fetch it.
    """
    release = apt.NEXT_RELEASE.get(apt.read_facts(()).codename)
    special = [name for name in names if name in apt.FROM_NEXT_RELEASE] if release is not None else []
    ordinary = [*(name for name in names if name not in special), *(FOR_SPECIAL if special else ())]
    with tempfile.TemporaryDirectory(prefix="opsctl-kit-") as made:
        place = Path(made)
        place.chmod(0o755)
        (place / "status").touch()
        (place / "partial").mkdir()
        for cached in Path("/var/cache/apt/archives").glob("*.deb"):
            _link(cached, place / cached.name)
        # No status: what this machine has already, a bare one may lack.
        options = ["-o", f"Dir::State::Status={place / 'status'}", "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=",
                   "-o", "APT::Sandbox::User=root", "-o", "Debug::NoLocking=1"]
        install = ["install", "-y", "--no-install-recommends"]
        _apt([*options, "-o", f"Dir::Cache::Archives={place}", *install, "--download-only", *ordinary], shell)
        uris = _apt([*options, "-o", "Dir::Cache::Archives=/nonexistent/", *install, "--print-uris", *ordinary], shell)
        chosen = [line.split()[1] for line in uris.splitlines() if line.startswith("'")]
        folder.mkdir()
        for name in chosen:
            shutil.copyfile(place / name, folder / name)
        # Asked for by release, apt would take what they need from there as well, and that runs beside nothing else.
        if special:
            _apt(["-o", "APT::Sandbox::User=root", "download", *(f"{name}/{release}" for name in special)], shell, cwd=str(folder))
    (folder / kit_folder.WANTED).write_text("".join(f"{name}\n" for name in names), "utf-8")
    write_list(folder, shell)
    if wrong := complete(folder, names, shell):
        raise ProgramFailed(f"the packages of the kit would not do on a bare machine: {wrong}", hint="apt-get update")


def _apt(words: Sequence[str], shell: Shell, cwd: str | None = None) -> str:
    done = shell.run(["apt-get", *apt.PATIENT, *words], timeout=_SECONDS, accept=None, env=dict(apt.QUIET), cwd=cwd)
    if done.code:
        said = [line for line in done.errors.splitlines() if line.startswith("E:")] or done.errors.splitlines()[-3:]
        raise ProgramFailed(f"apt could not fetch the packages of the kit: {'; '.join(said)}",
                            hint="`apt-get update`, and is there a network? `opsctl doctor --fix` adds the source of a newer restic")
    return done.text


def write_list(folder: Path, shell: Shell) -> None:
    """``Packages``: what apt reads to know what lies there."""
    parts = []
    for path in sorted(folder.glob("*.deb")):
        control = shell.run(["dpkg-deb", "--field", str(path)], timeout=60).text.rstrip("\n")
        parts.append(f"{control}\nFilename: ./{path.name}\nSize: {path.stat().st_size}\nSHA256: {sha256_of(path)}\n")
    (folder / "Packages").write_text("\n".join(parts), "utf-8")


def complete(packages: Path, names: Sequence[str], shell: Shell) -> str | None:
    """Why a bare machine could not install these packages out of the kit; None where it can. Installs nothing."""
    with tempfile.TemporaryDirectory(prefix="opsctl-kit-") as made:
        status = Path(made) / "status"
        status.touch()
        with kit_folder.apt_from(packages, status) as options:
            done = shell.run(["apt-get", *options, "-o", "Debug::NoLocking=1", "install", "--simulate", "--no-install-recommends", *names],
                             timeout=120, accept=None, env=dict(apt.QUIET))
    if done.code == 0:
        return None
    return "; ".join(line.strip() for line in (done.errors + done.text).splitlines() if "E:" in line or "Depends" in line)[:500]


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
