"""How backups stand, for monitors: one line for Nagios and its kin, and a text file for Prometheus."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsctl.cli.report import Report
from opsctl.errors import OpsError
from opsctl.model.due import due, grace, overdue
from opsctl.model.quantities import counted
from opsctl.model.snapshots import parse_time
from opsctl.repositories.standing import unverified

if TYPE_CHECKING:
    from opsctl.cli.ticks import Stamp
    from opsctl.model.config import Backup
    from opsctl.repositories.standing import Standing, Verdict

Found = Sequence[tuple[str, "Standing | None", "Verdict"]]
Plans = Mapping[str, "Backup"]
Copied = Mapping[str, Mapping[str, Mapping[str, Any]]]
Sample = tuple[str, Mapping[str, str], float]


def nagios_report(
    found: Found, errors: Sequence[OpsError], *, plans: Plans, now: datetime, late_copies: Sequence[OpsError] = (),
    failed: str | None = None,
) -> Report:
    """One line with performance data, and the exit codes 0 to 3 (OK, WARNING, CRITICAL, UNKNOWN)."""
    late = [(name, verdict) for name, _, verdict in found if verdict.late]
    if late:
        code, word = 2, "CRITICAL"
        rest = f"{len(late)} of {counted(len(found), 'backup')}: " + "; ".join(f"{name} {v.word}" for name, v in late[:5])
    elif late_copies:
        code, word, rest = 2, "CRITICAL", "; ".join(error.message for error in late_copies[:5])
    elif errors:
        code, word, rest = 3, "UNKNOWN", errors[0].message
    elif not found:
        code, word, rest = 3, "UNKNOWN", "no backup is configured"
    elif any(verdict.word == "due" for _, _, verdict in found):
        code, word, rest = 1, "WARNING", "a backup is due"
    elif failed:
        code, word, rest = 1, "WARNING", failed
    else:
        code, word, rest = 0, "OK", counted(len(found), 'backup')
    # Behind a | a monitor reads numbers.
    line = " ".join(f"OPSCTL {word} - {rest}".replace("|", "/").split())
    numbers = list(_performance(found, plans, now))
    if numbers:
        line += f" | {' '.join(numbers)}"
    return Report(result={"state": word, "line": line}, text=lambda out: out.line(line), exit_code=code)


def _performance(found: Found, plans: Plans, now: datetime) -> Iterator[str]:
    for name, standing, _ in sorted(found, key=lambda one: one[0]):
        newest = _newest(standing)
        if newest is None or standing is None:
            continue
        warn, critical = plans[name].every, plans[name].every + grace(plans[name].every)
        yield f"{name}_age={_seconds(now - newest)}s;{_seconds(warn)};{_seconds(critical)};0"
        yield f"{name}_bytes={standing.bytes}B;;;0"


def _seconds(span: timedelta) -> int:
    return max(0, int(span.total_seconds()))


def _newest(standing: Standing | None) -> datetime | None:
    return parse_time(standing.newest_time) if standing and standing.newest_time else None


# --- Prometheus --------------------------------------------------------------------------------------------

HELP = {
    "opsctl_backup_newest_timestamp_seconds": "When the newest good set was taken; absent where there is none.",
    "opsctl_backup_age_seconds": "Age of the newest good set when this was written; absent where there is none.",
    "opsctl_backup_every_seconds": "How often a set is asked for.",
    "opsctl_backup_bytes": "Size of the newest good set.",
    "opsctl_backup_sets": "Sets in the repository by state; only good ones count as backups.",
    "opsctl_backup_due": "1 where a new set is due, or none ever was taken.",
    "opsctl_backup_overdue": "1 where a set is late, or none ever was taken.",
    "opsctl_backup_unverified": "1 where the data was not read back within its term.",
    "opsctl_backup_damaged": "Damages that the last verification found and no later one cleared.",
    "opsctl_backup_suspect": "Sets whose changes looked like an attack and that nobody has looked at.",
    "opsctl_backup_late": "1 where `opsctl status` exits 5 because of this backup.",
    "opsctl_backup_checked_timestamp_seconds": "When the repository was last asked.",
    "opsctl_repository_exit_code": "What the last look at a repository ended with: 0 it was as it should be, 22 gone, another "
                                   "one or damaged, 12 refused, 13 no answer.",
    "opsctl_copy_newest_timestamp_seconds": "When the newest set of a copy was taken; absent where there is none.",
    "opsctl_copy_sets": "Whole sets in a copy.",
    "opsctl_copy_late": "1 where `opsctl status` exits 5 because of this copy.",
    "opsctl_copy_survives": "1 where the copy could outlive a stolen controller, by the configuration.",
    "opsctl_status_exit_code": "What `opsctl status` exited with: 0 all is well, 5 something is late, others an error.",
    "opsctl_status_timestamp_seconds": "When this was written.",
    "opsctl_due_fired_timestamp_seconds": "When a timer or cron last asked what is due.",
    "opsctl_due_exit_code": "What the last `opsctl backup run --due` that ended exited with.",
    "opsctl_due_duration_seconds": "How long it took.",
}


def text(found: Found, *, code: int, now: datetime, plans: Plans, stamp: Stamp | None, copies: Copied,
         looked: Mapping[str, int]) -> str:
    """The whole page in Prometheus's text format, every metric a gauge. ``copies``: as ``status --json`` has them.

    ``looked``: with which exit code the last look at each repository ended.
    """
    samples: dict[str, list[Sample]] = {}
    for name, labels, value in [*_of_backups(found, plans, now), *_of_looks(looked), *_of_copies(copies), *_of_all(code, now, stamp)]:
        samples.setdefault(name, []).append((name, labels, value))
    lines = []
    for name, rows in samples.items():
        lines += [f"# HELP {name} {HELP[name]}", f"# TYPE {name} gauge"]
        lines += [f"{name}{_labels(labels)} {_number(value)}" for _, labels, value in rows]
    return "\n".join(lines) + "\n"


def _of_backups(found: Found, plans: Plans, now: datetime) -> Iterator[Sample]:
    for name, standing, verdict in sorted(found, key=lambda one: one[0]):
        label = {"backup": name}
        newest = _newest(standing)
        yield "opsctl_backup_every_seconds", label, plans[name].every.total_seconds()
        yield "opsctl_backup_due", label, float(due(newest, plans[name].every, now) is not None)
        yield "opsctl_backup_overdue", label, float(overdue(newest, plans[name].every, now) is not None)
        yield "opsctl_backup_unverified", label, float(
            newest is not None and standing is not None
            and unverified(standing, plans[name].verify.read_all_within, now) is not None)
        yield "opsctl_backup_late", label, float(verdict.late)
        if standing is None:
            continue
        yield "opsctl_backup_damaged", label, standing.damage
        yield "opsctl_backup_suspect", label, len(standing.suspects)
        yield "opsctl_backup_checked_timestamp_seconds", label, parse_time(standing.checked).timestamp()
        for state, count in sorted(standing.states.items()):
            yield "opsctl_backup_sets", {**label, "state": state}, count
        if newest is not None:
            yield "opsctl_backup_newest_timestamp_seconds", label, newest.timestamp()
            yield "opsctl_backup_age_seconds", label, (now - newest).total_seconds()
            yield "opsctl_backup_bytes", label, standing.bytes


def _of_looks(looked: Mapping[str, int]) -> Iterator[Sample]:
    for repository, code in sorted(looked.items()):
        yield "opsctl_repository_exit_code", {"repository": repository}, code


def _of_copies(copies: Copied) -> Iterator[Sample]:
    for backup, places in sorted(copies.items()):
        for repository, copy in sorted(places.items()):
            label = {"backup": backup, "repository": repository}
            if copy["newest_time"]:
                yield "opsctl_copy_newest_timestamp_seconds", label, parse_time(copy["newest_time"]).timestamp()
            yield "opsctl_copy_sets", label, copy["sets"]
            yield "opsctl_copy_late", label, float(copy["late"])
            yield "opsctl_copy_survives", label, float(bool(copy["survives"]))


def _of_all(code: int, now: datetime, stamp: Stamp | None) -> Iterator[Sample]:
    yield "opsctl_status_exit_code", {}, code
    yield "opsctl_status_timestamp_seconds", {}, now.timestamp()
    if stamp is not None and stamp.last is not None:
        yield "opsctl_due_fired_timestamp_seconds", {}, stamp.last.timestamp()
    if stamp is not None and stamp.exit_code is not None and stamp.seconds is not None:
        yield "opsctl_due_exit_code", {}, stamp.exit_code
        yield "opsctl_due_duration_seconds", {}, stamp.seconds


def _labels(labels: Mapping[str, str]) -> str:
    told = (value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for value in labels.values())
    return "{" + ",".join(f'{name}="{value}"' for name, value in zip(labels, told, strict=True)) + "}" if labels else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def write(path: Path, found: Found, *, code: int, now: datetime, plans: Plans,
          stamp: Stamp | None, copies: Copied, looked: Mapping[str, int]) -> None:
    """Write the page whole or not at all, readable by everybody. ProgramFailed where the system says no."""
    from opsctl.repositories.whole import system_said_no

    page = text(found, code=code, now=now, plans=plans, stamp=stamp, copies=copies, looked=looked).encode()
    try:
        # The collector reads only *.prom, so it never sees the half of one.
        handle, made = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as out:
                out.write(page)
                out.flush()
                os.fchmod(out.fileno(), 0o644)
                os.fsync(out.fileno())
            os.replace(made, path)
        except BaseException:
            Path(made).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise system_said_no(error, path, len(page)) from error
