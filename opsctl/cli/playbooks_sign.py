"""``opsctl playbooks sign``: a person vouches for a playbook as its file is now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.cli.session import of
from opsctl.errors import SafetyRefusal, UsageError


def sign(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="PLAYBOOK", help="name of a playbook of your own, or its file")],
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="who vouches for it: a name under `people`")],
    key: Annotated[Path | None, typer.Option(
        "--key", metavar="FILE", help="your SSH private key, or the .pub of one that your agent holds")] = None,
) -> Report:
    """Vouch for a playbook as it is, with your SSH key.

    The signature lies beside its file. A playbook that was changed since is refused (23) until it is signed again;
    with `playbooks: {signed_by: 1}` in the configuration one that nobody signed is, too.
    """
    from opsctl.cli.signing import sign_as
    from opsctl.cli.work import open_site
    from opsctl.engine.playbooks import packaged, path_of, read
    from opsctl.model.signed_playbook import NAMESPACE, statement
    from opsctl.model.statements import signed_bytes
    from opsctl.repositories.whole import write_whole
    from opsctl.wiring.people import accept_first, refuse_changed
    from opsctl.wiring.playbooks import digest, signatures, signatures_file

    session = of(context)
    site = open_site(session)
    refuse_changed(site)
    path = path_of(name, site.config)
    if path.parent == packaged():
        raise UsageError(f"{name} comes with opsctl and is believed as the program is", hint="one of your own lies in playbooks/ beside the configuration")
    sha256 = digest(path)
    playbook = read(path)
    steps = ", ".join(f"{step.id} ({step.uses})" for step in playbook.steps)
    if not session.dry_run and not session.confirm(f"{path}: {playbook.title}; steps {steps}; SHA-256 {sha256}. Vouch for it?"):
        raise SafetyRefusal("nothing was signed")
    said = statement(playbook=path.stem, sha256=sha256, by=by, time=site.clock().isoformat())
    signature, _ = sign_as(site, by, key, signed_bytes(said), NAMESPACE)
    # What was signed for another content, and by the same person, is replaced.
    kept = [one for one in signatures(path) if one["statement"]["sha256"] == sha256 and one["statement"]["by"] != by]
    if not session.dry_run:
        accept_first(site)
        content = json.dumps([*kept, {"statement": said, "signature": signature}], indent=1)
        site.journal.append("playbook.signed", {"statement": said, "signature": signature})
        write_whole(signatures_file(path), content.encode() + b"\n")

    def text(out: Out) -> None:
        out.line(Mark(f"{path.stem}: signed by {', '.join([*(one['statement']['by'] for one in kept), by])}", Tone.GOOD))

    return Report(result={"playbook": path.stem, "file": str(path), "statement": said}, text=text, warnings=site.said)
