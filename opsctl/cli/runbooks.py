"""``opsctl playbooks show NAME --pdf FILE``: a playbook for the wall."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.errors import OpsError, ProgramFailed, UsageError

if TYPE_CHECKING:
    from opsctl.cli.session import Session
    from opsctl.model.playbook import Playbook


def write(session: Session, playbook: Playbook, *, pdf: Path | None, html: Path | None, language: str) -> Report:
    """Write the files that are asked for; where no PDF can be made (3) the page is written all the same."""
    from opsctl.cli.work import clock
    from opsctl.reports import runbook
    from opsctl.reports.page import LANGUAGES

    if language not in LANGUAGES:
        raise UsageError(f"--lang {language}: there is no such language", hint=f"one of {', '.join(LANGUAGES)}")
    written: list[str] = []
    errors: list[OpsError] = []
    if html is not None:
        _put(session, html, runbook.as_html(playbook, language), written)
    if pdf is not None:
        try:
            _put(session, pdf, runbook.as_pdf(playbook, language, clock(session)()), written)
        except ProgramFailed:
            raise
        except OpsError as error:
            errors.append(error)

    def text(out: Out) -> None:
        out.lines([Mark(f"{'would write' if session.dry_run else 'wrote'} {path}", Tone.GOOD) for path in written])

    return Report(result={"playbook": playbook.name, "language": language, "files": written}, text=text, errors=errors)


def _put(session: Session, path: Path, content: bytes, written: list[str]) -> None:
    if not session.dry_run:
        try:
            path.write_bytes(content)
        except OSError as error:
            raise ProgramFailed(f"{path}: {error.strerror}", where=str(path)) from error
    written.append(str(path))
