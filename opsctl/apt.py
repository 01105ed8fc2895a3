"""What apt has to do so that missing programs are there, worked out from the machine's own package sources.

Standard library only. Planning is pure (`plan`); `read_facts` looks, `carry_out` does, `one_line` says the
same for a person to run. No package host is named here: the machine's own sources know it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from opsctl.programs import Version, by_name, parse_version

# A release whose own restic is too old, and the next one, whose restic runs on it unchanged.
NEXT_RELEASE = {"bookworm": "trixie"}
FROM_NEXT_RELEASE = ("restic", "restic-rest-server")

# At 50 nothing comes from the other release unless it is asked for by name.
PIN = "Package: *\nPin: release n={release}\nPin-Priority: 50\n"

# While this is there, installing the PostgreSQL server programs makes and starts no database.
NO_CLUSTER = "/etc/postgresql-common/createcluster.d/opsctl-programs-only.conf"

# While this is there, sshd is not started, neither now nor at the next boot; who wants it removes the file.
NO_SSHD = "/etc/ssh/sshd_not_to_be_run"

INSTALL = ("apt-get", "install", "-y", "--no-install-recommends")
# A machine that was just started is often busy with its own upgrades.
PATIENT = ("-o", "DPkg::Lock::Timeout=120")
QUIET = {"DEBIAN_FRONTEND": "noninteractive", "APT_LISTCHANGES_FRONTEND": "none", "NEEDRESTART_SUSPEND": "1"}


@dataclass(frozen=True)
class Write:
    path: str
    text: str


@dataclass(frozen=True)
class Run:
    """`may_fail`: go on all the same, for a later step shows whether it mattered."""

    argv: tuple[str, ...]
    may_fail: bool = False


@dataclass(frozen=True)
class Remove:
    """Take away a file that was written only for the steps between; also when one of them fails."""

    path: str


Step = Write | Run | Remove


@dataclass(frozen=True)
class Facts:
    """The machine as apt sees it: the text of each source file, and what it would install.

    `candidates` lacks a package that apt knows nothing of, and is empty where no update was ever run.
    """

    system: str = ""
    codename: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)
    candidates: Mapping[str, Version] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """`steps` in order, `notes` for the person, `cannot` what no step of ours can bring."""

    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    cannot: tuple[str, ...] = ()


class AptFailed(Exception):
    """One command of the plan failed; the message holds the command and the last lines of what it said."""


# --- reading the machine's own sources ---------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One place that packages come from. `classic`: the options of a one-line entry, None for a stanza."""

    file: str
    uris: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    fields: tuple[tuple[str, str], ...] = ()
    classic: str | None = None


def entries(sources: Mapping[str, str]) -> list[Entry]:
    """Every enabled binary entry of the source files, in the order of the files."""
    found: list[Entry] = []
    for name, text in sources.items():
        found.extend(_stanzas(name, text) if name.endswith(".sources") else _lines(name, text))
    return found


def _stanzas(name: str, text: str) -> Iterator[Entry]:
    for block in re.split(r"\n[ \t]*\n", text):
        fields: dict[str, str] = {}
        last = ""
        for line in block.splitlines():
            if line.startswith("#"):
                continue
            if line[:1] in (" ", "\t") and last:
                fields[last] += "\n" + line
            elif ":" in line:
                key, _, value = line.partition(":")
                last = key.strip()
                fields[last] = value.strip()
        lowered = {key.lower(): value for key, value in fields.items()}
        disabled = lowered.get("enabled", "yes").lower() in ("no", "false")
        if disabled or "deb" not in lowered.get("types", "").split():
            continue
        yield Entry(
            name,
            lowered.get("uris", ""),
            tuple(lowered.get("suites", "").split()),
            tuple(lowered.get("components", "").split()),
            tuple(fields.items()),
        )


def _lines(name: str, text: str) -> Iterator[Entry]:
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)((?:\s+[^\s#]+)*)", line)
        if match and not match[2].startswith("cdrom:"):
            options = (match[1] or "").strip()
            yield Entry(name, match[2], (match[3],), tuple(match[4].split()), classic=options)


def another_release(sources: Mapping[str, str], codename: str, release: str) -> Write | None:
    """A source file for `release` after the machine's own entry for `codename`: same place, key and options.

    None where the machine has no such entry. Of several, the one that looks like the system's own is taken,
    since others' package sources use the release's name too.
    """
    own = [entry for entry in entries(sources) if codename in entry.suites and "main" in entry.components]
    if not own:
        return None
    entry = max(own, key=_like_the_systems_own)
    stem = f"/etc/apt/sources.list.d/opsctl-{release}"
    if entry.classic is not None:
        options = f"[{entry.classic}] " if entry.classic else ""
        return Write(f"{stem}.list", f"deb {options}{entry.uris} {release} main\n")
    changed = {"types": "deb", "suites": release, "components": "main"}
    fields = [(key, value) for key, value in entry.fields if key.lower() != "enabled"]
    lines = [f"{key}: {changed.get(key.lower(), value)}" for key, value in fields]
    return Write(f"{stem}.sources", "\n".join(lines) + "\n")


def _like_the_systems_own(entry: Entry) -> int:
    score = 2 if "debian-archive" in str(entry.fields) + str(entry.classic) else 0
    return score + sum(1 for uri in entry.uris.split() if uri.rstrip("/").rpartition("/")[2] == "debian")


def read_facts(packages: Sequence[str], root: str = "/") -> Facts:
    """Look at the machine: its name, its source files, which version of each package apt would install."""
    base = Path(root)
    release: dict[str, str] = {}
    for line in _text(base / "etc/os-release").splitlines():
        key, _, value = line.partition("=")
        release[key] = value.strip().strip("\"'")
    folder = base / "etc/apt/sources.list.d"
    files = [base / "etc/apt/sources.list", *sorted(folder.glob("*.list")), *sorted(folder.glob("*.sources"))]
    return Facts(
        system=release.get("PRETTY_NAME", ""),
        codename=release.get("VERSION_CODENAME", ""),
        sources={str(file): text for file in files if (text := _text(file))},
        candidates=_candidates(packages),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _candidates(packages: Sequence[str]) -> dict[str, Version]:
    if not packages or not shutil.which("apt-cache"):
        return {}
    answer = subprocess.run(
        ["apt-cache", "policy", *packages],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
        check=False,
    )
    return parse_policy(answer.stdout)


def parse_policy(text: str) -> dict[str, Version]:
    """`apt-cache policy` as `{package: version}`; packages without a candidate are left out."""
    found: dict[str, Version] = {}
    package = ""
    for line in text.splitlines():
        if line and not line.startswith(" "):
            package = line.rstrip(":")
        elif line.strip().startswith("Candidate:"):
            version = parse_version(re.sub(r"^\d+:", "", line.partition(":")[2].strip()))
            if version:
                found[package] = version
    return found


# --- planning ----------------------------------------------------------------------------------------------


def plan(packages: Sequence[str], facts: Facts) -> Plan:
    """The steps that bring `packages` and nothing else: none recommended, no service, no other release."""
    if not packages:
        return Plan()
    release = NEXT_RELEASE.get(facts.codename)
    special: list[str] = []
    cannot: list[str] = []
    steps: list[Step] = []
    notes: list[str] = []
    for package in packages:
        if package not in FROM_NEXT_RELEASE or _new_enough(package, facts):
            continue
        if release:
            special.append(f"{package}/{release}")
        elif package in facts.candidates:
            cannot.append(package)
    ordinary = [name for name in packages if name not in cannot and f"{name}/{release}" not in special]

    if special and not any(release in entry.suites for entry in entries(facts.sources)):
        source = another_release(facts.sources, facts.codename, str(release))
        if source is None:
            cannot.extend(name.partition("/")[0] for name in special)
            special = []
        else:
            # The pin comes first: killed between the two, no other release must be left unpinned.
            steps.append(Write(f"/etc/apt/preferences.d/opsctl-{release}", PIN.format(release=release)))
            steps.append(source)
            wanted = " and ".join(name.partition("/")[0] for name in special)
            notes.append(
                f"{facts.system}'s own restic is too old: {wanted} from {release}, nothing else from it"
            )
    if not ordinary and not special:
        return Plan(cannot=tuple(cannot))
    # One broken source of somebody else's must not stop what comes from the others.
    steps.append(Run(("apt-get", "update"), may_fail=True))
    if ordinary:
        programs_only = "postgresql" in ordinary
        if programs_only:
            steps.append(Write(NO_CLUSTER, "create_main_cluster = false\n"))
            notes.append("only the programs of PostgreSQL: no database is made, no service is started")
        if "openssh-server" in ordinary:
            steps.append(Write(NO_SSHD, "opsctl's tests need the program, not a service on this machine\n"))
            notes.append(f"only the program of sshd: {NO_SSHD} keeps it from being started; remove it if you want sshd")
        steps.append(Run((*INSTALL, *ordinary)))
        if programs_only:
            steps.append(Remove(NO_CLUSTER))
    if special:
        steps.append(Run((*INSTALL, *special)))
    return Plan(tuple(steps), tuple(notes), tuple(cannot))


def _new_enough(package: str, facts: Facts) -> bool:
    minimum = by_name(package).minimum
    return facts.candidates.get(package, ()) >= minimum


def why_not(package: str, facts: Facts) -> str:
    """One sentence for a package that no step of ours can bring."""
    minimum = ".".join(str(part) for part in by_name(package).minimum)
    return (
        f"{facts.system or 'this system'} has no {package} {minimum} or newer that opsctl knows of: "
        f"put its program into /usr/local/bin"
    )


# --- saying and doing it -----------------------------------------------------------------------------------


def one_line(steps: Sequence[Step], sudo: bool = True) -> str:
    """The steps as one line for a shell with root, or through sudo; empty for no steps."""
    if not steps:
        return ""
    quiet = "DEBIAN_FRONTEND=noninteractive"
    prefix = "sudo " if sudo else ""
    runs = [step for step in steps if isinstance(step, Run)]
    if len(runs) == len(steps):
        said = [f"{prefix}{quiet} {shlex.join(run.argv)}{'; ' if run.may_fail else ' && '}" for run in runs]
        return "".join(said).removesuffix(" && ").removesuffix("; ")
    removed = [shlex.quote(step.path) for step in steps if isinstance(step, Remove)]
    parts = [f"umask 022; export {quiet}"] + ([f'trap "rm -f {" ".join(removed)}" EXIT'] if removed else [])
    for step in steps:
        if isinstance(step, Run):
            parts.append(shlex.join(step.argv) + (" || true" if step.may_fail else ""))
        elif isinstance(step, Write):
            folder = str(Path(step.path).parent)
            if not folder.startswith("/etc/apt/"):
                parts.append(f"mkdir -p {shlex.quote(folder)}")
            lines = " ".join(_double_quoted(line) for line in step.text.splitlines())
            parts.append(f'printf "%s\\n" {lines} > {shlex.quote(step.path)}')
    return f"{prefix}sh -ec {shlex.quote('; '.join(parts))}"


def _double_quoted(text: str) -> str:
    # In double quotes, so that the whole line can stand in single ones and stay readable.
    return '"' + re.sub(r'([\\"$`])', r"\\\1", text) + '"'


def carry_out(steps: Sequence[Step], say: Callable[[str], None], root: str = "/") -> None:
    """Do the steps as root, saying each command. Raises `AptFailed`; what was to be removed is gone then."""
    try:
        for step in steps:
            if isinstance(step, Write):
                say(f"  writing {step.path}")
                _write(Path(root) / step.path.lstrip("/"), step.text)
            elif isinstance(step, Run):
                say(f"  {shlex.join(step.argv)}")
                try:
                    _run(step.argv)
                except AptFailed as failure:
                    if not step.may_fail:
                        raise
                    say(f"  going on although {failure}")
    finally:
        for step in steps:
            if isinstance(step, Remove):
                path = Path(root) / step.path.lstrip("/")
                path.unlink(missing_ok=True)
                _remove_if_empty(path.parent)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text, "utf-8")
    # apt reads its sources as another user.
    fresh.chmod(0o644)
    fresh.replace(path)


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        pass


def _run(argv: Sequence[str]) -> None:
    done = subprocess.run(
        [argv[0], *PATIENT, *argv[1:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **QUIET},
        check=False,
    )
    if done.returncode == 0:
        return
    last = "\n".join(f"    {line}" for line in done.stdout.splitlines()[-15:])
    raise AptFailed(f"`{shlex.join(argv)}` ended with {done.returncode}:\n{last}")
