"""The texts that let a timer or cron ask every hour what is due, as pure values."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from opsctl.errors import ConfigError

#: Where programs are looked for, said to timer and cron alike: what they start has no login's PATH.
SEARCHED = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
LOCALE = "C.UTF-8"
SYSTEM_CONFIG = "/etc/opsctl"
SYSTEM_UNITS = "/etc/systemd/system"
LOGS = "/var/log/opsctl"
#: Debian's cron takes no longer command, and drops the rest of the file silently.
LONGEST_COMMAND = 990
MARK = "opsctl backup schedule"
#: What each job asks of opsctl.
ASKS = {
    "backup": ("backup", "run", "--due"),
    "verify": ("verify", "--level", "data"),
    "drill": ("verify", "--level", "drill", "--due"),
    "isolation": ("isolate", "status", "--due"),
}


@dataclass(frozen=True)
class Wish:
    """What the texts are made for.

    ``program`` is the argv that starts this opsctl, ``directory`` its configuration, ``host`` what spreads machines
    over the hour, ``account`` who runs it. ``units``: the folder of an ordinary user's own units, None for the
    system's. ``folders`` are searched for programs. ``private_tmp`` and ``guarded``: whether the service can do without
    the machine's own /tmp, and without writing below /etc and /usr (except ``writes``). ``isolates``: hosts can be cut off from
    here, so that it is looked every hour whether they still are.
    """

    program: tuple[str, ...]
    directory: str
    host: str
    account: str = "root"
    units: str | None = None
    folders: tuple[str, ...] = SEARCHED
    private_tmp: bool = True
    guarded: bool = True
    writes: tuple[str, ...] = ()
    log_directory: str = LOGS
    isolates: bool = False


@dataclass(frozen=True)
class Piece:
    """One thing to be there: a file with ``text``, a link to ``target``, or (neither) a folder of ``owner``."""

    path: str
    text: str | None = None
    target: str | None = None
    mode: int = 0o644
    owner: str = "root"


def suffix(directory: str) -> str:
    """What tells the schedules of several configurations of one machine apart; nothing for /etc/opsctl."""
    return "" if directory == SYSTEM_CONFIG else f"-{hashlib.sha256(directory.encode()).hexdigest()[:8]}"


def minute(host: str) -> int:
    """The minute of the hour (0 to 59) at which this host asks: always the same one, spread over hosts."""
    return int.from_bytes(hashlib.sha256(host.encode()).digest()[:8], "big") % 60


def night_hour(host: str) -> int:
    """The hour (1 to 5) at which this host reads data back."""
    return 1 + int.from_bytes(hashlib.sha256(host.encode()).digest()[8:16], "big") % 5


def _clock(job: str, host: str) -> tuple[int | None, int]:
    """The hour (None: every one) and the minute of a job. Of the two of a night the drill comes second."""
    if job in ("backup", "isolation"):
        return None, (minute(host) + 20 * (job == "isolation")) % 60
    return night_hour(host) + (job == "drill"), (minute(host) + 30) % 60


def jobs(wish: Wish) -> Mapping[str, tuple[str, ...]]:
    """The argvs by name: what is due, asked hourly; each night the share of the data that is read back, and due drills.

    Where hosts can be cut off from here, hourly as well whether those that were still are.
    """
    start = (*wish.program, "--config", wish.directory)
    return {job: (*start, *asks) for job, asks in ASKS.items() if job != "isolation" or wish.isolates}


# --- systemd -----------------------------------------------------------------------------------------------


def systemd(wish: Wish) -> tuple[Piece, ...]:
    """Services first, then timers, then what enables them: cut off anywhere, nothing runs that is not whole."""
    folder = wish.units or SYSTEM_UNITS
    names = {job: f"opsctl-{job}{suffix(wish.directory)}" for job in jobs(wish)}
    about = {"backup": "take the backups that are due", "verify": "read a share of the data back",
             "drill": "drill the restores that are due", "isolation": "look whether what was cut off still is"}
    often = {"backup": "look every hour which backups are due", "verify": "read a share of the data back every night",
             "drill": "look every night which restores are to be drilled",
             "isolation": "look every hour whether what was cut off still is"}
    clocks = {job: _clock(job, wish.host) for job in names}
    when = {job: (often[job], f"*-*-* {'*' if hour is None else f'{hour:02}'}:{past:02}:00")
            for job, (hour, past) in clocks.items()}
    return (
        *(Piece(f"{folder}/{names[job]}.service", _service(wish, about[job], argv)) for job, argv in jobs(wish).items()),
        *(Piece(f"{folder}/{name}.timer", _timer(when[job][0] + _of(wish), when[job][1])) for job, name in names.items()),
        *(Piece(f"{folder}/timers.target.wants/{name}.timer", target=f"../{name}.timer") for name in names.values()),
    )


def timers(pieces: Sequence[Piece]) -> tuple[str, ...]:
    """The names of the timers among them."""
    return tuple(PurePosixPath(piece.path).name for piece in pieces if piece.target is not None)


def _service(wish: Wish, about: str, argv: Sequence[str]) -> str:
    system = wish.units is None
    lines = [
        f"# Made by `{MARK} --systemd --write`. What is yours belongs into a drop-in: systemctl edit.",
        "[Unit]", f"Description=opsctl: {about}{_of(wish)}",
        *(("Wants=network-online.target", "After=network-online.target") if system else ()),
        "", "[Service]", "Type=oneshot",
        *((f"User={wish.account}",) if system else ()),
        *(("# It may read every file, and nothing else that root may.", "AmbientCapabilities=CAP_DAC_READ_SEARCH")
          if system and wish.account != "root" else ()),
        f"ExecStart={' '.join(unit_word(word) for word in argv)}",
        f"Environment={unit_word('PATH=' + ':'.join(wish.folders), variables=False)} LANG={LOCALE}",
        "Nice=10", "IOSchedulingClass=best-effort", "IOSchedulingPriority=7",
        "# A first backup may take days: no limit kills it half-way.", "TimeoutStartSec=infinity",
        "# opsctl ends the programs that it started, in order.", "KillMode=mixed", "TimeoutStopSec=2min",
        "UMask=0077",
        *(_guards(wish) if system else ()),
    ]
    return "\n".join(lines) + "\n"


def _of(wish: Wish) -> str:
    return f" ({wish.directory.replace('%', '%%')})" if suffix(wish.directory) else ""


def _guards(wish: Wish) -> Iterator[str]:
    if wish.private_tmp:
        yield "PrivateTmp=yes"
    if wish.guarded:
        yield from ("ProtectSystem=full", "NoNewPrivileges=yes")
        if wish.writes:
            yield f"ReadWritePaths={' '.join(unit_word('-' + path, variables=False) for path in wish.writes)}"
    yield from ("ProtectKernelModules=yes", "ProtectKernelTunables=yes", "LockPersonality=yes", "RestrictRealtime=yes")


def _timer(about: str, calendar: str) -> str:
    return "\n".join([
        f"# Made by `{MARK} --systemd --write`. What is yours belongs into a drop-in: systemctl edit.",
        "[Unit]", f"Description=opsctl: {about}", "", "[Timer]",
        "# The minute comes from the host's name. What is due is read from the repository, never from a calendar.",
        f"OnCalendar={calendar}",
        "# Spreads machines over that minute and stays the same for each, within the minute, so that a set due after",
        "# three days is not put off by an hour because the timer came a moment early.",
        "RandomizedDelaySec=45s", "FixedRandomDelay=true", "AccuracySec=1s", "Persistent=true",
        "", "[Install]", "WantedBy=timers.target", "",
    ])


def unit_word(word: str, *, variables: bool = True) -> str:
    """One word of a unit file; ``variables`` False where systemd expands no ``$``."""
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    if variables:
        text = text.replace("$", "$$")
    return f'"{text}"' if text != word or not word or any(sign.isspace() or sign in "';" for sign in word) else word


# --- cron --------------------------------------------------------------------------------------------------


def cron(wish: Wish) -> tuple[Piece, ...]:
    """The log's folder and rotation, and last the file that cron reads. ConfigError where cron would cut a line."""
    tail = suffix(wish.directory)
    logs = [f"{wish.log_directory}/{job}{tail}.log" for job in jobs(wish)]
    return (
        Piece(wish.log_directory, mode=0o750, owner=wish.account),
        Piece(f"/etc/logrotate.d/opsctl{tail}", _logrotate(logs, wish.account)),
        Piece(f"/etc/cron.d/opsctl{tail}", "\n".join([
            f"# Made by `{MARK} --cron --write`; run it again where something moved.",
            "SHELL=/bin/sh", f"PATH={':'.join(wish.folders)}", f"LANG={LOCALE}",
            "# Everything goes into the log; cron mails only that a run failed, and how.",
            *crontab(wish, account=f"{wish.account} "), "",
        ])),
    )


def crontab(wish: Wish, *, account: str = "") -> tuple[str, ...]:
    """The lines, for ``crontab -e`` or (with ``account``) for /etc/cron.d."""
    lines = []
    for job, argv in jobs(wish).items():
        log = shlex.quote(f"{wish.log_directory}/{job}{suffix(wish.directory)}.log")
        what = shlex.quote(f"opsctl {' '.join(argv[len(wish.program) + 2:])}")
        # A pipe into logger would lose the exit code; a redirection keeps it.
        command = (f"{{ date -u +%Y-%m-%dT%H:%M:%SZ; nice -n 10 {shlex.join(argv)}; }} >>{log} 2>&1 || "
                   f"{{ code=$?; echo {what} ended with exit code $code, see {log}; exit $code; }}")
        command = command.replace("%", "\\%")
        if len(command) > LONGEST_COMMAND:
            raise ConfigError(f"cron takes no line of {len(command)} characters, which {wish.directory} needs",
                              hint="a shorter path for the configuration or for opsctl, or --systemd")
        hour, past = _clock(job, wish.host)
        lines.append(f"{past} {'*' if hour is None else hour} * * * {account}{command}")
    return tuple(lines)


def _logrotate(logs: Sequence[str], account: str) -> str:
    return "\n".join([
        f"# Made by `{MARK} --cron --write`.",
        *(f'"{log}"' for log in logs), "{", "    weekly", "    rotate 12", "    missingok", "    notifempty",
        "    compress", "    delaycompress", f"    su {account} {account}", f"    create 0640 {account} {account}", "}", "",
    ])


# --- what the configuration says about it -------------------------------------------------------------------


def leaves(data: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every single value in dumped models with the key that it stands under."""
    if isinstance(data, Mapping):
        for name, value in data.items():
            yield from leaves(value, str(name))
    elif isinstance(data, list | tuple):
        for value in data:
            yield from leaves(value, key)
    elif data is not None:
        yield key, data


def shares_tmp(texts: Sequence[str]) -> bool:
    """Whether one of these paths lies where a private /tmp would hide it."""
    return any(text == top or text.startswith(f"{top}/") for text in texts for top in ("/tmp", "/var/tmp"))


def sights(data: Any) -> tuple[bool, tuple[str, ...]]:
    """Of a dumped configuration: whether it names commands of the site's own, and variables that hold secrets."""
    found = list(leaves(data))
    own = {"argv", "before", "after", "restore", "dump", "command"}
    commands = any(key in own or key.endswith("_command") for key, _ in found) or ("kind", "command") in found
    return commands, tuple(dict.fromkeys(str(value) for key, value in found if key.endswith("_env")))


def read_only(paths: Sequence[str]) -> tuple[str, ...]:
    """Those of the paths that ProtectSystem=full would make read-only."""
    return tuple(path for path in paths if path.split("/")[1:2] in (["usr"], ["boot"], ["efi"], ["etc"]))
