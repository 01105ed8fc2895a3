"""What one call of opsctl was given: options that work everywhere, terminal, environment, clock."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsctl.errors import Waiting
from opsctl.model.values import value

if TYPE_CHECKING:
    import typer


@dataclass
class Hooks:
    """What becomes known while a command runs; the only part of a session that changes.

    ``run`` is the id of the run under way: an interruption names it. ``on_bug(summary, trace)`` writes a trace
    where it lasts and returns the words for that place (``the journal, line 812``), or None where it could
    not. ``asking`` is true while a person is being asked, so that a signal ends the question. ``signal`` is the
    first signal that asked for the end of work. ``last_words(signal)`` prints the report of an interruption for
    a process that has to be ended; ``main`` sets it. ``site``: the configuration made to work, once one was
    loaded; ``session``: with which options it was looked for. ``interrupted`` says in what state an interruption
    leaves the world, in words that end its sentence. ``told``: the report is being printed.
    """

    run: str | None = None
    on_bug: Callable[[str, str], str | None] | None = None
    asking: bool = False
    last_words: Callable[[int], object] | None = None
    signal: int | None = None
    site: Any = None
    session: Session | None = None
    interrupted: Callable[[], str] | None = None
    told: bool = False


def _utc_now() -> datetime:
    return datetime.now(UTC)


@value
class Session:
    """The options that work everywhere, and the world that the call came from.

    ``config`` is what ``--config`` said, None where it said nothing. ``interactive``: a person sits at a
    terminal and can be asked. ``clock`` gives aware datetimes. ``break_glass``: work also where the state directory
    cannot be used.
    """

    config: Path | None = None
    json: bool = False
    yes: bool = False
    dry_run: bool = False
    quiet: bool = False
    verbose: bool = False
    break_glass: bool = False
    interactive: bool = False
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    clock: Callable[[], datetime] = _utc_now
    hooks: Hooks = field(default_factory=Hooks)

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        return self.clock().astimezone(UTC)

    def confirm(self, question: str) -> bool:
        """Ask yes or no; no answer means no. ``--yes`` is a yes. Raises Waiting where nobody can be asked."""
        if self.yes:
            return True
        self._someone_must_be_there(question, "give --yes, or ask again at a terminal")
        while True:
            answer = self._answer(f"{question} [y/N] ").lower()
            if answer in ("y", "yes"):
                return True
            if answer in ("", "n", "no"):
                return False

    def ask(self, question: str, default: str | None = None, *, option: str | None = None) -> str:
        """Ask for a word; an empty answer is ``default``, and without one the question comes again.

        ``--yes`` takes the default. ``option`` names the option that answers the question without asking.
        Raises Waiting where nobody can be asked, or where the terminal was closed instead of an answer.
        """
        if self.yes and default is not None:
            return default
        hint = f"answer it with {option}" if option else "ask again at a terminal"
        if default is not None:
            hint += ", or take the default with --yes"
        self._someone_must_be_there(question, hint)
        prompt = question if default is None else f"{question} [{default}]"
        while True:
            answer = self._answer(f"{prompt}: ") or default
            if answer is not None:
                return answer

    def typed(self, question: str, *, hint: str = "ask again at a terminal") -> str:
        """Ask for a word that nothing but a person at a terminal gives: ``--yes`` does not. Raises Waiting as ``ask``."""
        self._someone_must_be_there(question, hint)
        return self._answer(f"{question}: ")

    def hidden(self, question: str) -> str:
        """Ask for a word that the terminal does not show; an empty one is asked for again. Raises Waiting as ``ask``."""
        import getpass

        self._someone_must_be_there(question, "ask again at a terminal")
        self.hooks.asking = True
        try:
            while True:
                answer = getpass.getpass(f"{question}: ")
                if answer:
                    return answer
        except EOFError as error:
            raise Waiting(f"no answer: {question}", hint="the terminal was closed instead of an answer") from error
        finally:
            self.hooks.asking = False

    def _someone_must_be_there(self, question: str, hint: str) -> None:
        if not self.interactive:
            raise Waiting(f"nobody can be asked here: {question}", hint=hint)

    def _answer(self, prompt: str) -> str:
        from opsctl.cli import render

        self.hooks.asking = True
        try:
            answer = render.question(prompt)
        finally:
            self.hooks.asking = False
        if answer is None:
            raise Waiting(f"no answer: {prompt.strip()}", hint="the terminal was closed instead of an answer")
        return answer.strip()


def of(context: typer.Context) -> Session:
    """The session of the command that is running."""
    found = context.obj
    if not isinstance(found, Session):
        raise TypeError("the command was not started by opsctl.cli.main")
    return found


def someone_is_there() -> bool:
    """Whether questions can be read (standard error) and answered (standard input) at a terminal."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))
