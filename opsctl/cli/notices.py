"""Telling people: from how a call ended to notices, each trouble once, and the ping when all is well.

It stands outside of everything that can fail, so that a lock, a broken configuration or a lost repository is told as well.
What goes wrong here is added to the report and never changes how the call ended.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsctl.cli.report import Report
from opsctl.cli.session import Session
from opsctl.errors import OpsError

if TYPE_CHECKING:
    from datetime import datetime

    from opsctl.model.config_notify import Notify
    from opsctl.model.notices import Notice, Trouble
    from opsctl.wiring import Site

_AT_WORK = 20.0  # the same where a person waits
_NOT_TOLD = (2, 130, 143)  # a mistyped command, an interruption: whoever did it knows


def tell(command: str, session: Session, report: Report, site: Site | None) -> list[str]:
    """Tell what a call's end makes known; returns warnings about what could not be told."""
    if session.dry_run or session.interactive or report.code in _NOT_TOLD:
        return []
    try:
        settings = site.config.notify if site is not None else _from_broken(session)
        if settings is None:
            return []
        return _tell(command, session, report, site, settings)
    except OpsError as error:
        return [f"nobody was told: {error.message}"]
    except Exception as error:  # a notice that fails never hides the failure it was to tell
        return [f"nobody was told: {type(error).__name__}"]


def announce(session: Session, site: Site) -> list[str]:
    """Tell those configured of open incidents, and of those that are closed now; returns warnings about what could not be told."""
    from opsctl.cli.incident_notices import OF_INCIDENTS, of_incidents

    settings = site.config.notify
    if settings is None or session.dry_run:
        return []
    try:
        return _settle(session, site, settings, of_incidents(site), lambda key: key.startswith(OF_INCIDENTS), limit=_AT_WORK)
    except OpsError as error:
        return [f"nobody was told of the incident: {error.message}"]
    except Exception as error:
        return [f"nobody was told of the incident: {type(error).__name__}"]


def _tell(command: str, session: Session, report: Report, site: Site | None, settings: Notify) -> list[str]:
    from opsctl.cli.incident_notices import OF_INCIDENTS, of_incidents

    troubles = [*_failures(command, report), *([*_late(site), *of_incidents(site)] if site is not None else ())]
    well = command == "backup run" and report.code == 0 and not [one for one in troubles if not one.key.startswith(OF_INCIDENTS)]
    return _settle(session, site, settings, troubles, lambda key: _is_over(key, command, report, site), well=well)


def _settle(session: Session, site: Site | None, settings: Notify, troubles: Sequence[Trouble], over: Callable[[str], bool], *,
            well: bool = False, limit: float | None = None) -> list[str]:
    from opsctl.cli.work import clock
    from opsctl.model.notices import settle, untold

    now = site.clock() if site is not None else clock(session)()
    record = (site.place if site is not None else _state(session)) / "notices.json"
    known = _read(record)
    notices, kept = settle(known, troubles, over, now, settings.remind)
    wanted = [notice for notice in notices if notice.kind in settings.on]
    urls = _urls(settings, site) if wanted else []
    ping = _pulse(settings, site) if well else None
    warnings: list[str] = []
    if (wanted and urls) or ping:
        sent, pinged = _send(urls, wanted, ping, now, site, limit)
        warnings += [f"a notice to {_label(url)} was not taken" for url, took in zip(urls, sent, strict=True) if not took]
        if ping and not pinged:
            warnings.append(f"the call to {_label(ping)}, which says that all is well, was not taken")
        if wanted and not any(sent):
            kept = untold(kept, wanted)
    if kept != known:
        _write(record, kept)
    return warnings


def _failures(command: str, report: Report) -> list[Trouble]:
    from opsctl.model.notices import Trouble

    if command == "status":
        return []  # what it finds late is told as such
    found = []
    for error in report.errors:
        kind = "waiting" if error.code == 4 else "failed"
        where = f"{error.where}: " if error.where and error.where not in error.message else ""
        more = "".join(f"\n  {problem}" for problem in list(getattr(error, "problems", ()))[:5])
        found.append(Trouble(f"failed:{command}:{error.where or error.code}", kind,
                             f"opsctl {command}: {where}{error.message}{more}", error.hint))
    return found


def _late(site: Site) -> list[Trouble]:
    from opsctl.cli.status import late, suspects
    from opsctl.model.notices import Trouble

    found = [Trouble(f"suspect:{name}/{one['set']}", "suspect", f"set {one['set']} of {name} may show an attack: {one['why']}",
                     "opsctl incident open" if one.get("attack") else f"look at its files now: opsctl restore points {name}; then opsctl restore looked {name} {one['set']} --innocent --by NAME, or --attack")
             for name, one in suspects(site)]
    return [*found, *(Trouble(f"late:{error.where}", "overdue", error.message, error.hint) for error in late(site))]


def _is_over(key: str, command: str, report: Report, site: Site | None) -> bool:
    """Whether this call looked at the trouble and did not find it any more."""
    kind, _, rest = key.partition(":")
    if site is None:
        return False
    if kind in ("late", "suspect", "incident", "near"):
        return True
    of, _, where = rest.partition(":")
    if of != command:
        return False
    if command == "isolate status":
        return _still_cut_off(where, report, site)
    if command == "verify" and ("/" in where) != _drilled(report):
        return False  # a look into a repository says nothing of a restore, nor the other way round
    asked = report.result.get("backups") if isinstance(report.result, Mapping) else None
    if not isinstance(asked, Mapping):
        return report.code == 0
    # One that was left alone, since somebody is at work on it, was not looked at.
    covered = {name for name, one in asked.items() if one.get("outcome") != "skipped"}
    return where.partition("/")[0] in covered or covered >= set(site.config.backups)


def _still_cut_off(host: str, report: Report, site: Site) -> bool:
    """Whether a host was seen to stand as it was confirmed, or is not to be cut off any more."""
    hosts = report.result.get("hosts", {}) if isinstance(report.result, Mapping) else {}
    if host in hosts:
        return not any(hosts[host][wrong] for wrong in ("drift", "open", "error"))
    return site.isolations.register.get(host) is None


def not_understood(site: Site) -> list[str]:
    """Addresses of the configuration that no notice can be sent to, without what may be secret. Nothing is sent."""
    settings = site.config.notify
    urls = _urls(settings, site) if settings is not None else []
    if not urls:
        return []
    found = _sender(site, {"urls": urls, "try": True})["sent"]
    return [_label(url) for url, good in zip(urls, found, strict=True) if not good]


def _drilled(report: Report) -> bool:
    """Whether a call of `verify` drilled a restore."""
    steps = report.result.get("steps", ()) if isinstance(report.result, Mapping) else ()
    return any(step.get("step") == "drill" and step.get("result") for step in steps)


def _urls(settings: Notify, site: Site | None) -> list[str]:
    from opsctl.wiring.sending import addresses

    return addresses(settings, _shell(site))


def _pulse(settings: Notify, site: Site | None) -> str | None:
    from opsctl.shells.secrets import read_secret

    return read_secret(settings.pulse, _shell(site)).reveal().strip() if settings.pulse else settings.dead_man


def _send(
    urls: Sequence[str], notices: Sequence[Notice], ping: str | None, now: datetime, site: Site | None, limit: float | None = None
) -> tuple[list[bool], bool]:
    words = {"failed": "FAILED", "overdue": "OVERDUE", "waiting": "waiting for a person", "suspect": "SUSPECT", "incident": "INCIDENT",
             "recovered": "recovered"}
    kinds = dict.fromkeys(words[notice.kind] for notice in notices)
    host = os.uname().nodename
    body = "\n\n".join(f"{words[one.kind]}: {one.text}" + (f"\n  {one.hint}" if one.hint else "") for one in notices)
    asked = {"urls": list(urls) if notices else [], "title": f"opsctl on {host}: {', '.join(kinds)}", "ping": ping,
             "body": f"{body}\n\n{host}, {now.isoformat(timespec='minutes')}. `opsctl status` says more."}
    answer = _sender(site, asked, limit)
    return [bool(one) for one in answer["sent"]], bool(answer["pinged"])


def _sender(site: Site | None, asked: Mapping[str, Any], limit: float | None = None) -> dict[str, Any]:
    from opsctl.wiring.sending import SEND_LIMIT, send

    return send(asked, _shell(site), limit or SEND_LIMIT)


def _shell(site: Site | None) -> Any:
    from opsctl.wiring import this_machine

    return site.shell if site is not None else this_machine()


def _label(url: str) -> str:
    from opsctl.wiring.sending import label

    return label(url)


def _read(record: Path) -> dict[str, dict[str, Any]]:
    try:
        found = json.loads(record.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    good = isinstance(found, dict) and all(isinstance(one, dict) and "since" in one for one in found.values())
    return found if good else {}


def _write(record: Path, kept: Mapping[str, Any]) -> None:
    from opsctl.repositories.whole import write_whole

    write_whole(record, json.dumps(kept, indent=1, ensure_ascii=False).encode() + b"\n")


def _from_broken(session: Session) -> Notify | None:
    """The settings out of a configuration that does not load, if they at least are as they should be."""
    try:
        found = _raw(session).get("notify")
    except OpsError:  # there is none at all, or one that others may write to: nobody that it names is to be told
        return None
    return None if found is None else _validated(found, session)


def _validated(found: Any, session: Session) -> Notify | None:
    from opsctl.engine.configuration import find_config_dir
    from opsctl.model.config_notify import Notify
    from opsctl.model.part import NotValid

    directory = find_config_dir(session.config, session.environ, _euid())
    try:
        return Notify.model_validate(found, context={"directory": str(directory)})
    except NotValid:
        return None


def _state(session: Session) -> Path:
    found = _raw(session).get("state")
    return Path(found) if isinstance(found, str) and found.startswith("/") else Path("/var/lib/opsctl")


def _raw(session: Session) -> dict[str, Any]:
    from opsctl.engine.configuration import config_files, find_config_dir, read_documents
    from opsctl.engine.load import merge

    directory = find_config_dir(session.config, session.environ, _euid())
    data = merge(read_documents(config_files(directory), _euid())).data
    return data if isinstance(data, dict) else {}


def _euid() -> int:
    import os

    return os.geteuid()
