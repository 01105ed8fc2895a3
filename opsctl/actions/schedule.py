"""schedule: a timer or a line for cron that asks every hour what is due, installed whole or not at all."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from opsctl.actions.interface import Change, Params, StateAction, World
from opsctl.errors import ConfigError, ProgramFailed, SafetyRefusal
from opsctl.model import schedule
from opsctl.model.schedule import Piece, Wish
from opsctl.repositories.whole import system_said_no

#: Units that opsctl's installer wrote before there was a schedule begin like this.
_OURS = (schedule.MARK, "Description=opsctl: ")


class ScheduleParams(Params):
    """``units``: the folder of an ordinary user's own units; ``into``: a folder that stands for ``/``, nothing is started."""

    kind: Literal["systemd", "cron"]
    program: tuple[str, ...]
    account: str = "root"
    units: str = ""
    folders: tuple[str, ...] = ()
    into: str = ""


@dataclass(frozen=True)
class Seen:
    """What there is to be (``pieces``), which of them are not so (``wrong``), and what is ours of the other kind.

    ``asleep``: timers that a running systemd does not have active as they are written; empty where none runs.
    """

    pieces: tuple[Piece, ...]
    wrong: tuple[str, ...]
    stale: tuple[str, ...]
    asleep: tuple[str, ...]
    minute: int


class Schedule(StateAction[ScheduleParams, Seen]):
    """Installs what asks every hour which backups are due, and every night for a share of the data to be read back and for
    the drills that are due; where hosts can be cut off from here, every hour as well whether those that were still are.

    with:
      kind     `systemd`: services and timers; `cron`: a file for /etc/cron.d, with a log and its rotation
      program  the command that starts this opsctl, as a list of words
      account  who runs it (root)
      units    folder of an ordinary user's own units, instead of the system's
      folders  folders that programs are looked for in, beside the usual ones
      into     install below this folder and start nothing

    The minute comes from the host's name. Files that opsctl did not make are never replaced (23); units are checked by
    `systemd-analyze verify` before they are put in place; of the other kind nothing of ours is left.
    """

    word = "schedule"
    Params = ScheduleParams

    def locks(self, params: ScheduleParams) -> tuple[str, ...]:
        return ("schedule",)

    def observe(self, params: ScheduleParams, world: World) -> Seen:
        wish = wanted(params, world.config, world.host)
        pieces = schedule.systemd(wish) if params.kind == "systemd" else schedule.cron(wish)
        # What stands in the system's folders is not an ordinary user's to remove.
        others = () if params.units else schedule.cron(wish) if params.kind == "systemd" else schedule.systemd(wish)
        for piece in pieces:
            _refuse_foreign(_at(params, piece.path), piece)
        return Seen(
            pieces=pieces,
            wrong=tuple(piece.path for piece in pieces if not _is_so(_at(params, piece.path), piece, params)),
            stale=tuple(piece.path for piece in others if _is_ours(_at(params, piece.path), piece)),
            asleep=_asleep(params, schedule.timers(pieces), world),
            minute=schedule.minute(world.host),
        )

    def plan(self, params: ScheduleParams, seen: Seen) -> list[Change]:
        changes = []
        if seen.wrong:
            changes.append(Change("install", f"install {', '.join(seen.wrong)}"))
        if seen.stale:
            changes.append(Change("remove", f"remove {', '.join(seen.stale)}", after=("install",)))
        # A timer that runs does not know of a new text; one that runs as written is left alone.
        if seen.asleep:
            changes.append(Change("start", f"start {', '.join(seen.asleep)}", after=("install",)))
        return changes

    def apply(self, params: ScheduleParams, change: Change, world: World) -> None:
        seen = self.observe(params, world)
        if change.key == "install":
            wrong = [piece for piece in seen.pieces if piece.path in seen.wrong]
            if params.kind == "systemd":
                _check_units(seen.pieces, params, world)
            _install([(_at(params, piece.path), piece) for piece in wrong], own=not params.into)
        elif change.key == "remove":
            _remove(params, seen.stale, world)
        else:
            names = schedule.timers(seen.pieces)
            _systemctl(params, world, "daemon-reload")
            _systemctl(params, world, "restart", *names)

    def result(self, params: ScheduleParams, seen: Seen) -> Mapping[str, Any]:
        return {"kind": params.kind, "files": [str(_at(params, piece.path)) for piece in seen.pieces],
                "minute": seen.minute, "started": params.kind == "cron" or _runs(params)}


def wanted(params: ScheduleParams, config: Any, host: str) -> Wish:
    """What the texts are made for. ConfigError where the configuration holds no backup."""
    if not config.backups:
        raise ConfigError("the configuration holds no backup, so there is nothing to ask for",
                          hint="add one under `backups:`; configs/README.md has the keys")
    data = config.model_dump()
    commands, _ = schedule.sights(data)
    texts = [str(value) for _, value in schedule.leaves(data)] + [str(config.directory), *params.program]
    kept = [str(config.state), *(str(one.url) for one in config.repositories.values())]
    # An ordinary account's locks may lie in /tmp, and have to be the same ones that its login takes.
    shared = commands or params.account != "root" or schedule.shares_tmp(texts)
    return Wish(
        program=params.program, directory=str(config.directory), host=host, account=params.account,
        units=params.units or None, folders=tuple(dict.fromkeys((*schedule.SEARCHED, *params.folders))),
        private_tmp=not shared, guarded=not commands, writes=schedule.read_only(kept),
        log_directory=schedule.LOGS if not params.units else str(config.state),
        isolates=any(one.isolation is not None for one in config.hosts.values()),
    )


def _at(params: ScheduleParams, path: str) -> Path:
    return Path(params.into) / path.lstrip("/") if params.into else Path(path)


def _is_so(place: Path, piece: Piece, params: ScheduleParams) -> bool:
    try:
        if piece.target is not None:
            return os.readlink(place) == piece.target
        seen = place.stat()
        if piece.text is None:
            own = params.into or seen.st_uid == pwd.getpwnam(piece.owner).pw_uid
            return place.is_dir() and seen.st_mode & 0o7777 == piece.mode and bool(own)
        # Bytes: whatever somebody put there, it is compared and never decoded.
        return not place.is_symlink() and place.read_bytes() == piece.text.encode() and seen.st_mode & 0o7777 == piece.mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        # A link's place that holds no link.
        if piece.target is not None and place.exists():
            return False
        raise system_said_no(error, place) from error


def _is_ours(place: Path, piece: Piece) -> bool:
    if piece.target is not None:
        return place.is_symlink() and os.readlink(place) == piece.target
    try:
        return (piece.text is not None and not place.is_symlink()
                and any(mark.encode() in place.read_bytes() for mark in _OURS))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _refuse_foreign(place: Path, piece: Piece) -> None:
    if piece.text is None and piece.target is None:
        return
    if os.path.lexists(place) and not _is_ours(place, piece):
        masked = place.is_symlink() and os.readlink(place) == "/dev/null"
        raise SafetyRefusal(
            f"{place} is {'masked' if masked else 'there already and was not made by opsctl'}",
            hint=f"systemctl unmask {place.name}" if masked else "look at it, move it away, and ask again", where=str(place),
        )


# --- putting into place ------------------------------------------------------------------------------------


def _install(pieces: Sequence[tuple[Path, Piece]], *, own: bool) -> None:
    """Write everything beside its place, then rename; where a rename fails, what was there comes back."""
    fresh: list[tuple[Path, Path]] = []
    before: list[tuple[Path, Path | None]] = []
    try:
        for place, piece in pieces:
            if piece.text is None and piece.target is None:
                place.mkdir(parents=True, exist_ok=True)
                place.chmod(piece.mode)
                if own:
                    shutil.chown(place, piece.owner, pwd.getpwnam(piece.owner).pw_gid)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            beside = place.with_name(f".{place.name}.new")
            beside.unlink(missing_ok=True)
            fresh.append((beside, place))
            if piece.target is not None:
                beside.symlink_to(piece.target)
            else:
                _write(beside, str(piece.text).encode(), piece.mode)
        for beside, place in fresh:
            old = _aside(place)
            before.append((place, old))
            beside.replace(place)
    except BaseException as error:
        for place, old in reversed(before):
            place.unlink(missing_ok=True)
            if old is not None:
                old.replace(place)
        for beside, _ in fresh:
            beside.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise system_said_no(error) from error
        raise
    for _, old in before:
        if old is not None:
            old.unlink(missing_ok=True)


def _write(path: Path, content: bytes, mode: int) -> None:
    with path.open("wb") as out:
        out.write(content)
        out.flush()
        os.fchmod(out.fileno(), mode)
        os.fsync(out.fileno())


def _aside(place: Path) -> Path | None:
    """A second name for what is there, or None."""
    old = place.with_name(f".{place.name}.old")
    old.unlink(missing_ok=True)
    try:
        os.link(place, old, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return old


def _remove(params: ScheduleParams, paths: Collection[str], world: World) -> None:
    names = [PurePosixPath(path).name for path in paths if path.endswith(".timer") and "wants" not in path]
    other = params.model_copy(update={"kind": "systemd"})
    if names and _runs(other):
        _systemctl(other, world, "stop", *names)
    # What enables goes first, what it would start last.
    for path in reversed(list(paths)):
        _at(params, path).unlink(missing_ok=True)
    if any(path.endswith(".service") for path in paths) and _runs(other):
        _systemctl(other, world, "daemon-reload")


# --- systemd -----------------------------------------------------------------------------------------------


def _check_units(pieces: Sequence[Piece], params: ScheduleParams, world: World) -> None:
    """ProgramFailed with its words where systemd itself cannot read the units; nothing is in place yet."""
    if shutil.which("systemd-analyze") is None:
        return
    with world.scratch() as place:
        files = []
        for piece in pieces:
            if piece.text is not None:
                path = place / PurePosixPath(piece.path).name
                path.write_text(piece.text, "utf-8")
                files.append(path)
        user = ["--user"] if params.units else []
        done = world.shell.run(["systemd-analyze", "verify", "--man=no", *user, *map(str, files)], accept=None,
                               env=_environment(params), timeout=60)
        names = [path.name for path in files]
    # An older systemd passes over a key that it does not know, and says so.
    said = [line for line in done.errors.splitlines()
            if any(name in line for name in names) and not line.endswith("ignoring.") and "Unknown lvalue" not in line]
    if done.code != 0 and said:
        raise ProgramFailed(f"systemd-analyze verify refuses the units: {'; '.join(said)}", hint="nothing was installed")


def _runs(params: ScheduleParams) -> bool:
    """Whether the systemd that the units are for runs here."""
    if params.into or params.kind != "systemd" or shutil.which("systemctl") is None:
        return False
    return Path(f"/run/user/{os.geteuid()}/systemd" if params.units else "/run/systemd/system").is_dir()


def _asleep(params: ScheduleParams, names: Sequence[str], world: World) -> tuple[str, ...]:
    if not names or not _runs(params):
        return ()
    found = []
    for name in names:
        service = name.removesuffix(".timer") + ".service"
        done = _systemctl(params, world, "show", "--property=ActiveState", "--property=NeedDaemonReload", name, service)
        # The timer's own state is said first, whatever the order of its properties.
        state = next((line for line in done.text.splitlines() if line.startswith("ActiveState=")), "")
        if "NeedDaemonReload=yes" in done.text or state != "ActiveState=active":
            found.append(name)
    return tuple(found)


def _systemctl(params: ScheduleParams, world: World, *words: str) -> Any:
    user = ["--user"] if params.units else []
    return world.shell.run(["systemctl", *user, "--no-ask-password", *words], env=_environment(params), timeout=120)


def _environment(params: ScheduleParams) -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": f"/run/user/{os.geteuid()}"} if params.units else {}
