"""Options that several commands share, and the sets that they lead to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsctl.errors import SafetyRefusal

if TYPE_CHECKING:
    from opsctl.cli.work import Given
    from opsctl.model.sets import Judgement, SetView
    from opsctl.wiring import Site

RepositoryUrl = Annotated[str | None, typer.Option(
    "--repository", metavar="URL", help="without a configuration: the repository, a path or rest:https://…")]
PasswordFile = Annotated[str | None, typer.Option(
    "--password-file", metavar="FILE", help="without a configuration: file with the repository's password")]
RestUser = Annotated[str | None, typer.Option("--user", help="without a configuration: user at the REST server")]
SecretFile = Annotated[str | None, typer.Option(
    "--secret-file", metavar="FILE", help="without a configuration: file with that user's password")]
CaCert = Annotated[str | None, typer.Option(
    "--cacert", metavar="FILE", help="without a configuration: certificate to check the REST server against")]
Trust = Annotated[list[str] | None, typer.Option(
    "--trust", metavar="FINGERPRINT", help="SHA256:… of a key whose sets count; `backup init` printed it")]
Wait = Annotated[str | None, typer.Option(
    "--wait", metavar="DURATION", help="how long to wait for a locked repository (5m)")]
From = Annotated[str | None, typer.Option(
    "--from", metavar="NAME", help="the repository that holds a copy, instead of the backup's own")]
SetId = Annotated[str | None, typer.Option("--set", metavar="ID", help="the set; the newest good one if not given")]


def given(url: str | None, password_file: str | None, user: str | None, secret_file: str | None,
          cacert: str | None) -> Given | None:
    """A repository named on the command line, or None."""
    from opsctl.cli.work import Given

    return Given(url, password_file, user, secret_file, cacert) if url else None


def choose(site: Site, judgement: Judgement, backup: str, set_id: str | None) -> SetView:
    """The set that was asked for, or the newest good one, a copy where there are only copies. SafetyRefusal says what there is instead."""
    found = judgement.of(backup)
    if set_id is not None:
        chosen = [view for view in found if view.id == set_id]
        if not chosen:
            raise SafetyRefusal(f"there is no set {set_id} of {backup}", hint=f"opsctl backup list {backup}")
        return chosen[0]
    newest = judgement.newest_good(backup) or judgement.newest_whole(backup)
    if newest is not None:
        return newest
    if not found:
        others = sorted({view.backup for view in judgement.sets})
        raise SafetyRefusal(f"there is no set of {backup}",
                            hint=f"there are sets of {', '.join(others)}" if others else "the repository holds no set")
    raise SafetyRefusal(f"none of the {len(found)} sets of {backup} can be taken without asking: "
                        f"the last one is {found[-1].state} ({'; '.join(found[-1].reasons)})", hint=_advice(found))


def _advice(found: Sequence[SetView]) -> str:
    signers = sorted({view.signer for view in found if view.state == "foreign" and view.signer})
    if signers:
        return f"if this is the fingerprint that you kept: --trust {signers[0]}"
    return "choose one by its id: --set ID"


def describe(view: SetView) -> dict[str, Any]:
    """A set for ``--json``."""
    return {
        "set": view.id, "backup": view.backup, "state": view.state, "time": view.time,
        "reasons": list(view.reasons), "manifest": view.manifest, "signer": view.signer, "bytes": view.bytes,
        "added": view.added, "snapshots": dict(view.snapshots),
        "host": view.record.get("host"), "run": view.record.get("run"),
    }
