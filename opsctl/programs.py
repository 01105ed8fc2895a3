"""Which outside programs opsctl calls, where they are, and whether they are new enough.

Standard library only: `bootstrap.py` reads this before anything is installed. How a missing one comes onto a
Debian or Ubuntu machine is `apt.py`'s subject.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path

from opsctl.model.values import value

Version = tuple[int, ...]

PURPOSES = ("use", "demo", "test")
"""Each needs what those before it need: `use` runs backups, `demo` starts PostgreSQL, `test` needs all."""

SYSTEM_FOLDERS = ("/usr/bin", "/bin", "/usr/sbin", "/sbin")

# Debian keeps the server programs of each major version here, and none of them on the PATH.
POSTGRESQL_FOLDERS = "/usr/lib/postgresql/*/bin"

DEVANAGARI = ("/usr/share/fonts/truetype/noto/NotoSansDevanagari-Regular.ttf", "/usr/share/fonts/truetype/noto/NotoSansDevanagariUI-Regular.ttf",
              "/usr/share/fonts/truetype/lohit-devanagari/Lohit-Devanagari.ttf")
"""Any of these draws Hindi; the first looks best."""

ATOMIC = ("/usr/lib/x86_64-linux-gnu/libatomic.so.1", "/usr/lib/aarch64-linux-gnu/libatomic.so.1")

ANSWER_WITHIN = 20.0
"""Seconds that a program may take to say its version."""


@value
class Program:
    """One outside program: `package` is Debian's and Ubuntu's, `asks` the argv tail that prints a version.

    `asked` is another program of the same package that is asked instead; `folders` one, or a glob, beside the PATH. With `kind` it
    is for sources of that kind, and wanted to `use` opsctl only where there are some; `instead` does as well. What is no
    program but files, such as letters, is there where one of `files` is; it has no version.
    """

    name: str
    purpose: str
    package: str
    why: str
    minimum: Version = ()
    asks: tuple[str, ...] = ("--version",)
    asked: str | None = None
    folders: str | None = None
    kind: str | None = None
    instead: str | None = None
    files: tuple[str, ...] = ()


@value
class Found:
    """What a look at one program saw. `problem` is empty when it is there and new enough.

    `shadows` is set when the too old one is not the system's own, so that installing a package cannot help.
    """

    program: Program
    path: str | None
    version: Version
    problem: str
    shadows: bool = False

    @property
    def ok(self) -> bool:
        return not self.problem


def _postgresql(name: str, purpose: str, why: str) -> Program:
    package = "postgresql-client" if purpose == "use" else "postgresql"
    return Program(name, purpose, package, why, minimum=(13,), folders=POSTGRESQL_FOLDERS)


def _mariadb(name: str, instead: str, why: str) -> Program:
    return Program(name, "use", "mariadb-client", why, minimum=(8,), kind="mariadb", instead=instead)


PROGRAMS: tuple[Program, ...] = (
    Program("restic", "use", "restic", "keeps the backups", minimum=(0, 17), asks=("version", "--json")),
    # ssh-keygen cannot say its version; ssh comes from the same package.
    Program("ssh-keygen", "use", "openssh-client", "signs what opsctl vouches for", (8, 9), ("-V",), "ssh"),
    _postgresql("psql", "use", "asks PostgreSQL for proofs"),
    _postgresql("pg_dump", "use", "backs up PostgreSQL databases"),
    _postgresql("pg_dumpall", "use", "backs up PostgreSQL roles and grants"),
    _postgresql("pg_restore", "use", "restores PostgreSQL databases"),
    _mariadb("mariadb", "mysql", "asks MariaDB for proofs, and restores its databases"),
    _mariadb("mariadb-dump", "mysqldump", "backs up MariaDB databases"),
    Program("setpriv", "use", "util-linux", "starts programs as an ordinary user", minimum=(2, 33)),
    Program("fonts", "use", "fonts-noto-core", "the letters of Hindi, in reports as PDF", files=DEVANAGARI),
    _postgresql("initdb", "demo", "makes the throw-away database"),
    _postgresql("pg_ctl", "demo", "starts and stops the throw-away database"),
    _postgresql("postgres", "demo", "is the throw-away database"),
    # Without its service, and with no database: the package of the programs alone.
    Program("mariadbd", "test", "mariadb-server-core", "is the throw-away database of drills and tests", (10, 4)),
    Program("restic-rest-server", "test", "restic-rest-server", "is the tests' append-only store", (0, 12)),
    Program("radosgw", "test", "radosgw", "is the tests' S3 store with Object Lock", (15,)),
    Program("ceph-mon", "test", "ceph-mon", "keeps that store's map", (15,)),
    Program("ceph-osd", "test", "ceph-osd", "keeps that store's objects in memory", (15,)),
    Program("git", "test", "git", "tells the tests what belongs to the project"),
    Program("systemd-analyze", "test", "systemd", "checks the units of a schedule"),
    # Debian's cron cannot say its version, so the package is asked.
    Program("cron", "test", "cron", "is the tests' real cron", (3,), ("-W", "-f=${Version}", "cron"), "dpkg-query"),
    Program("sshd", "demo", "openssh-server", "is the throw-away hosts", (8, 4), ("-V",), folders="/usr/sbin"),
    Program("sudo", "test", "sudo", "runs what the tests' hosts allow", (1, 9)),
    Program("ip", "demo", "iproute2", "makes the throw-away network", (4, 9), ("-V",)),
    Program("nft", "demo", "nftables", "is what cuts the throw-away hosts off", (0, 9, 7), folders="/usr/sbin"),
    Program("tcsh", "test", "tcsh", "is a login shell that takes no newline between quotes", (6,)),
    Program("conntrack", "test", "conntrack", "lists and ends what the tests' forwarder tracks", (1, 4), folders="/usr/sbin"),
    Program("iptables-nft", "test", "iptables", "lays rules of others beside ours", (1, 8), folders="/usr/sbin"),
    Program("sqlite3", "test", "sqlite3", "copies a database on a host without Python", (3, 27)),
    Program("pkill", "test", "procps", "ends what sudo started", (3,)),
    Program("logrotate", "test", "logrotate", "turns the log of a schedule over"),
    Program("chromium", "test", "chromium", "opens the pages of the tests", (90,)),
    Program("libatomic", "test", "libatomic1", "what playwright's own node is linked with", files=ATOMIC),
    Program("pdftotext", "test", "poppler-utils", "reads the PDFs of the tests", (20,), ("-v",)),
)


def needed(purpose: str, kinds: Collection[str] = ()) -> tuple[Program, ...]:
    """The programs for one of PURPOSES and for sources of these kinds. ValueError for another word."""
    reach = PURPOSES[: PURPOSES.index(purpose) + 1]
    wanted = (None, *kinds)
    return tuple(program for program in PROGRAMS
                 if program.purpose in reach and (purpose == PURPOSES[-1] or program.kind in wanted))


def by_name(name: str) -> Program:
    for program in PROGRAMS:
        if program.name == name:
            return program
    raise KeyError(name)


# OpenSSH names OpenSSL's version behind its own, an unreleased PostgreSQL has no dot in its own, and MariaDB's programs
# name a version of their own that nobody else counts.
_SAID = (r"(?:Distrib|from) (\d+\.\d+\.\d+)", r"OpenSSH_(?:\w+_)?(\d+\.\d+)", r"\(PostgreSQL\) (\d+(?:\.\d+)*)", r"(?<![\w.])v?(\d+(?:\.\d+)+)")


def parse_version(text: str) -> Version:
    """The first dotted number in what a program printed: `(0, 18, 0)`; `()` where there is none."""
    try:
        said = json.loads(text)
    except ValueError:
        said = None
    if isinstance(said, dict):
        text = str(said.get("version", ""))
    for pattern in _SAID:
        if match := re.search(pattern, text):
            return tuple(int(part) for part in match.group(1).split("."))
    return ()


def show(version: Version) -> str:
    return ".".join(str(part) for part in version) or "unknown"


def find(name: str, path: str | None = None) -> str | None:
    """Where the program is: the first on the PATH (or on `path`), then in its `folders`, newest first.

    Debian's `pg_wrapper` on the PATH is passed over: it stands there even when no version of PostgreSQL does.
    """
    found = shutil.which(name, path=path)
    if found and Path(found).resolve().name != "pg_wrapper":
        return found
    program = next((each for each in PROGRAMS if each.name == name), None)
    if program is None or program.folders is None:
        return found
    root, star, rest = program.folders.partition("*")
    if not star:
        return shutil.which(name, path=root)
    hidden = [folder / rest.strip("/") / name for folder in Path(root).glob("*")]
    hidden.sort(key=lambda each: parse_version(f"{each.parents[1].name}.0"), reverse=True)
    return next((str(each) for each in hidden if shutil.which(str(each))), None)


def version_of(program: Program, path: str) -> Version:
    """What the program at `path` says its version is; `()` when it says nothing of the kind."""
    asked = path
    if program.asked:
        beside = Path(path).with_name(program.asked)
        asked = str(beside) if beside.exists() else (shutil.which(program.asked) or path)
    try:
        answer = subprocess.run(
            [asked, *program.asks],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=ANSWER_WITHIN,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return parse_version(answer.stdout.decode("utf-8", "replace"))


def look(program: Program, path: str | None = None) -> Found:
    """Look at one program as it is now, at `path` or where `find` finds it."""
    if program.files:
        there = next((one for one in program.files if Path(one).is_file()), None)
        return Found(program, there, (), "" if there else f"no {program.name} installed ({program.why})")
    path = path or find(program.name) or (find(program.instead) if program.instead else None)
    if path is None:
        return Found(program, None, (), f"{program.name} is not installed ({program.why})")
    version = version_of(program, path)
    if not version:
        return Found(program, path, (), f"{path} does not say its version, so it is not used")
    if version < program.minimum:
        least = show(program.minimum)
        problem = f"{program.name} {show(version)} ({path}) is too old: {least} or newer is needed"
        return Found(program, path, version, problem, shadows=_shadows(program, path))
    return Found(program, path, version, "")


def _shadows(program: Program, path: str) -> bool:
    if str(Path(path).parent) in SYSTEM_FOLDERS:
        return False
    own = shutil.which(program.name, path=":".join(SYSTEM_FOLDERS))
    return own is not None and version_of(program, own) >= program.minimum


def survey(purpose: str, kinds: Collection[str] = ()) -> tuple[Found, ...]:
    """Look at every program that `purpose` needs, with sources of these kinds."""
    return tuple(look(program) for program in needed(purpose, kinds))


def packages_for(found: Sequence[Found]) -> tuple[str, ...]:
    """The packages that would bring what is missing or too old, each once, in the order of PROGRAMS."""
    wanted = [each.program.package for each in found if not each.ok and not each.shadows]
    if "postgresql" in wanted:
        # It brings the client programs of the same version with it.
        wanted = [package for package in wanted if package != "postgresql-client"]
    return tuple(dict.fromkeys(wanted))


def advice(found: Found) -> str:
    """What to do about a problem, in one sentence; empty where there is none."""
    if found.ok:
        return ""
    if found.shadows:
        return f"a newer one is in /usr/bin: remove {found.path}, or put /usr/bin before it on the PATH"
    return f"`opsctl doctor --fix` as root brings it (package {found.program.package})"


def require_restic(path: str | None = None) -> tuple[str, tuple[int, int, int]]:
    """The restic to run and its version, `("/usr/bin/restic", (0, 18, 0))`: the first on the PATH, no other.

    Raises `ProgramFailed` when there is none, when it does not say its version, or when it is too old: a
    restic before 0.17 lacks the exit codes that tell a wrong password from a store that is gone.
    """
    found = look(by_name("restic"), path)
    if not found.ok or found.path is None:
        from opsctl.errors import ProgramFailed

        raise ProgramFailed(found.problem, hint=advice(found))
    major, minor, patch = (*found.version, 0, 0)[:3]
    return found.path, (major, minor, patch)
