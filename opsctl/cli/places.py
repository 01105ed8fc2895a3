"""Options that several commands share, and the sets that they lead to."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from opsctl.errors import SafetyRefusal
from opsctl.model.quantities import counted
from opsctl.model.signals import reasons

if TYPE_CHECKING:
    from opsctl.cli.report import Report
    from opsctl.cli.work import Given
    from opsctl.model.sets import Judgement, SetView
    from opsctl.repositories.history import Holdings
    from opsctl.wiring import Site

RepositoryUrl = Annotated[str | None, typer.Option(
    "--repository", metavar="URL", help="without a configuration: the repository, a path, rest:https://…, sftp:user@host:/path "
    "or s3:https://… (whose access key stands in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)")]
PasswordFile = Annotated[str | None, typer.Option(
    "--password-file", metavar="FILE", help="without a configuration: file with the repository's password")]
RestUser = Annotated[str | None, typer.Option("--user", metavar="NAME", help="without a configuration: user at the REST server")]
SecretFile = Annotated[str | None, typer.Option(
    "--secret-file", metavar="FILE", help="without a configuration: file with that user's password")]
CaCert = Annotated[str | None, typer.Option(
    "--cacert", metavar="FILE", help="without a configuration: certificate to check the server against")]
HostKey = Annotated[str | None, typer.Option(
    "--host-key", metavar="KEY", help="without a configuration: the SFTP server's host key, 'ssh-ed25519 AAAA…'")]
SshKey = Annotated[str | None, typer.Option(
    "--ssh-key-file", metavar="FILE", help="without a configuration: private key for the SFTP server")]
Trust = Annotated[list[str] | None, typer.Option(
    "--trust", metavar="FINGERPRINT", help="SHA256:… of a key whose sets count; `backup init` printed it")]
Wait = Annotated[str | None, typer.Option(
    "--wait", metavar="DURATION", help="how long to wait for a locked repository (5m)")]
From = Annotated[str | None, typer.Option(
    "--from", metavar="NAME", help="the repository that holds a copy, instead of the backup's own")]
SetId = Annotated[str | None, typer.Option("--set", metavar="ID", help="the set; the newest good one if not given")]

#: Words that stand for the newest set where an id is asked for.
NEWEST = ("newest", "latest")


def given(url: str | None, **keys: str | None) -> Given | None:
    """A repository named on the command line, or None; ``keys`` as in a configuration."""
    from opsctl.cli.work import Given

    return Given(url, **keys) if url else None


#: The options that name a repository without a configuration, by the names under which a command has them.
_GIVEN: dict[str, Any] = {
    "repository": RepositoryUrl, "password_file": PasswordFile, "user": RestUser, "secret_file": SecretFile,
    "cacert": CaCert, "host_key": HostKey, "ssh_key_file": SshKey, "trust": Trust,
}


def from_anywhere(command: Callable[..., Report]) -> Callable[..., Report]:
    """A command that works on a machine without a configuration: its options, handed on as ``given`` and ``trust``."""

    @functools.wraps(command)
    def called(*words: Any, **options: Any) -> Report:
        said = {name: options.pop(name, None) for name in _GIVEN}
        url, trust = said.pop("repository"), said.pop("trust")
        return command(*words, given=given(url, **said), trust=trust or (), **options)

    # typer makes its options of the signature, and takes no annotation in it that is still text.
    own = inspect.signature(command)
    called.__annotations__ = {name: kind for name, kind in command.__annotations__.items() if name not in ("given", "trust")}
    hints = get_type_hints(called, include_extras=True)
    kept = [one.replace(annotation=hints[one.name]) for one in own.parameters.values() if one.name in hints]
    more = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
            for name, option in _GIVEN.items()]
    called.__annotations__ |= _GIVEN
    called.__signature__ = own.replace(parameters=[*kept, *more])  # type: ignore[attr-defined]
    return called


def require_repository(said: str, place: Path, names: Callable[[], Collection[str]]) -> None:
    """SafetyRefusal where a folder given with --repository is none; one that lost some of its parts is one, and damaged.

    ``names``: the repositories of the configuration, whose name somebody may have meant.
    """
    from opsctl.model.fields import meant

    if _holds_repository(place):
        return
    known = names()
    if said in known:
        raise SafetyRefusal(f"--repository {said}: there is no repository at {place}",
                            hint=f"{said} is a repository of the configuration, which is used without --repository and "
                                 "--password-file; --from NAME takes a copy")
    beside: list[str] = []
    with contextlib.suppress(OSError):
        beside = [one.name for one in place.parent.iterdir() if _holds_repository(one)]
    near = meant(place.name, beside) or meant(said, known)
    raise SafetyRefusal(f"--repository {said}: there is no repository at {place}{near}",
                        hint="is the path right, and is everything mounted?")


def _holds_repository(place: Path) -> bool:
    return any(os.path.lexists(place / part) for part in ("config", "keys", "snapshots", "data"))


def look(site: Site, repository: str) -> Holdings:
    """What stands in a repository now. SafetyRefusal where there is none, and no configuration that could make one."""
    history = site.history(repository)
    try:
        return _with_keys_told(site, repository, history.look(site.clock()))
    except SafetyRefusal as error:
        if error.details.get("kind") != "not-made" or site.config.directory is not None:
            raise
        raise SafetyRefusal(f"there is no repository at {history.repository.url}",
                            hint="is the address right, and is everything mounted?") from error


def _with_keys_told(site: Site, repository: str, seen: Holdings) -> Holdings:
    """Note each key given with --trust that signed nothing here: a mistyped one looks like any other."""
    signers = {view.signer for view in seen.judgement.sets}
    site.notes += [f"--trust {key}: no set in {repository} is signed by this key" for key in site.trust if key not in signers]
    return seen


def home(site: Site, backup: str) -> str:
    """The repository of a backup that was named on the command line."""
    from opsctl.model.unknown import unknown

    if site.config.backups and backup not in site.config.backups:
        raise unknown("backup", backup, site.config.backups)
    return site.home(backup)


def choose(site: Site, judgement: Judgement, backup: str, set_id: str | None) -> SetView:
    """The set that was asked for, or the newest good one, a copy where there are only copies. UsageError and SafetyRefusal say what there is instead."""
    from opsctl.model.unknown import unknown

    found = judgement.of(backup)
    if set_id is not None and set_id not in NEWEST:
        chosen = [view for view in found if view.id == set_id]
        if not chosen and found:
            raise unknown("set", set_id, [view.id for view in found], hint=f"opsctl backup list {backup}")
        if chosen:
            return chosen[0]
    newest = judgement.newest_good(backup) or judgement.newest_whole(backup)
    if newest is not None:
        return newest
    if not found:
        others = sorted({view.backup for view in judgement.sets})
        if others and backup not in site.config.backups:
            raise unknown("backup", backup, others)
        raise SafetyRefusal(f"there is no set of {backup}",
                            hint=f"there are sets of {', '.join(others)}" if others else "the repository holds no set")
    raise SafetyRefusal(f"no set of {backup} can be taken without asking: of {counted(len(found), 'set')} the last "
                        f"is {found[-1].state} ({'; '.join(found[-1].reasons)})",
                        hint=_advice(found, site.trust))


def _advice(found: Sequence[SetView], told: Sequence[str]) -> str:
    signers = sorted({view.signer for view in found if view.state == "foreign" and view.signer})
    if signers and told:
        return (f"--trust named another key ({', '.join(told)}): compare it letter by letter with the one that you kept. If "
                f"that is not {signers[0]}, somebody else signed these sets")
    if signers:
        return f"if this is the fingerprint that you kept: --trust {signers[0]}"
    if found[-1].state == "future":
        return "is this machine's clock right (`date`)? If it is, choose one by its id: --set ID"
    return "choose one by its id: --set ID"


def describe(view: SetView) -> dict[str, Any]:
    """A set for ``--json``."""
    return {
        "set": view.id, "backup": view.backup, "state": view.word, "time": view.time,
        "taken_until": view.taken_until,
        "reasons": list(view.reasons), "manifest": view.manifest, "signer": view.signer, "bytes": view.bytes,
        "added": view.added, "snapshots": dict(view.snapshots),
        "host": view.record.get("host"), "run": view.record.get("run"),
        "damage": [damage.as_json() for damage in view.damage],
        "signals": {"verdict": view.verdict, "reasons": reasons(view.signals)},
    }
