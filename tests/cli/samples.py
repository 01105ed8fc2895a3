"""Commands to try ``main`` with; ``python -m tests.cli.samples`` is opsctl with these instead of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from opsctl import errors
from opsctl.cli import lazy, main
from opsctl.cli import session as sessions
from opsctl.cli.report import Column, Out, Report, Table

ROOT = Path(__file__).resolve().parents[2]
app = typer.Typer(help="Commands to try main with.")
ENTRIES = (
    lazy.Entry("test", "sample", "tests.cli.samples:app", "many commands"),
    lazy.Entry("test", "alone", "tests.cli.samples:alone", "one command"),
)


class Level(Enum):
    QUICK = "quick"
    DATA = "data"


def alone(context: typer.Context) -> Report:
    """A command that is no group."""
    return given(context)


@app.command()
def given(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument()] = None,
    word: Annotated[str | None, typer.Option("--word", "-w")] = None,
    pair: Annotated[tuple[str, str] | None, typer.Option("--pair")] = None,
    force: Annotated[bool, typer.Option("--force")] = False,
    level: Annotated[Level, typer.Option("--level")] = Level.QUICK,
    number: Annotated[int, typer.Option("--number")] = 3,
    percent: Annotated[int, typer.Option("--percent", min=0, max=100)] = 5,
    place: Annotated[Path | None, typer.Option("--place")] = None,
    many: Annotated[list[str] | None, typer.Option("--many")] = None,
) -> Report:
    """Say what was given."""
    session = sessions.of(context)
    return Report(
        result={
            "config": session.config,
            "json": session.json,
            "yes": session.yes,
            "dry_run": session.dry_run,
            "quiet": session.quiet,
            "verbose": session.verbose,
            "break_glass": session.break_glass,
            "names": list(names or ()),
            "word": word,
            "pair": pair,
            "force": force,
            "level": level,
            "number": number,
            "percent": percent,
            "place": place,
            "many": list(many or ()),
        }
    )


@app.command("raise")
def raise_(
    context: typer.Context,
    what: str,
    hook: Annotated[str | None, typer.Option("--hook")] = None,
    run: Annotated[str | None, typer.Option("--run")] = None,
) -> Report:
    """Raise something."""
    hooks = sessions.of(context).hooks
    hooks.run = run
    if hook == "works":
        hooks.on_bug = lambda summary, trace: f"the journal, {summary}, {len(trace.splitlines()) > 1}"
    if hook == "fails":
        hooks.on_bug = lambda summary, trace: str(1 / 0)
    if what == "bug":
        return Report(result=str.upper(3))  # type: ignore[arg-type]
    if what == "exit":
        sys.exit(9)
    if what == "pipe":
        raise BrokenPipeError("not that of standard output")
    if what == "config":
        raise errors.ConfigError(
            "two mistakes", problems=["a.yaml:1: x: required", "a.yaml:2: \x1b[31my: unknown"]
        )
    if what == "keyboard":
        raise KeyboardInterrupt
    if what == "abort":
        raise typer.Abort
    if what == "leave":
        raise typer.Exit(7)
    raise getattr(errors, what)("it went wrong", hint="do something else", where="portal/portal-db")


@app.command()
def tell(
    noise: Annotated[bool, typer.Option("--noise")] = False,
    unfit: Annotated[str | None, typer.Option("--unfit")] = None,
    rows: Annotated[int, typer.Option("--rows")] = 2,
    failed: Annotated[bool, typer.Option("--failed")] = False,
) -> Report:
    """Report in full."""
    if noise:
        print("noise")
    name = b"nagar\xff\n\x1b[31m".decode("utf-8", "surrogateescape")
    unfits = {None: "नगर", "object": object(), "nan": float("nan")}

    def text(out: Out) -> None:
        if unfit == "text":
            raise ZeroDivisionError
        out.heading("Sets")
        out.table(
            Table(
                ("id", Column("what", flexible=True)),
                [(f"20261124-0230-portal-{row:04}", name) for row in range(rows)],
            )
        )

    return Report(
        result={"name": name, name: "key", "other": unfits.get(unfit)},
        text=text,
        run="20261124-0230-portal-7f3a",
        warnings=["the clock went back"],
        errors=[errors.ProgramFailed("one"), errors.Unreachable("two", hint="try later")] if failed else [],
    )


@app.command()
def ask(context: typer.Context, default: Annotated[str | None, typer.Option("--default")] = None) -> Report:
    """Ask twice."""
    session = sessions.of(context)
    sure = session.confirm("Sure?")
    word = session.ask("Which word", default, option="--word")
    return Report(result={"sure": sure, "word": word}, text=lambda out: out.line(f"sure {sure}, word {word}"))


@app.command()
def work(
    context: typer.Context, how: str = "child", folder: Annotated[Path, typer.Option("--folder")] = Path(".")
) -> Report:
    """Work until a signal comes; says in FOLDER that it has begun."""
    from opsctl.cli import signals
    from opsctl.shells.local import LocalShell

    session = sessions.of(context)
    session.hooks.run = "RUN-1"
    if how == "unprepared":
        (folder / "begun").touch()
        threading.Event().wait()
    with signals.working(session) as stopping:
        if how == "question":
            session.ask("Which word")
        if how == "child":
            (folder / "script").write_text('echo $$ > "$1/pid"; touch "$1/begun"; sleep 600 & wait')
            LocalShell().run(["sh", str(folder / "script"), str(folder)])
        (folder / "begun").touch()
        if how == "polls":
            stopping.wait()
            raise errors.Interrupted
        if how == "hangs":
            while True:
                threading.Event().wait()
        if how == "thread":
            threading.Thread(target=threading.Event().wait).start()
            stopping.wait()
            raise errors.Interrupted
    return Report(result={"stopped": stopping.is_set()})


def environment(**more: str) -> dict[str, str]:
    """The environment of a test's own process, in which nothing of the caller's terminal is left."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("NO_COLOR", "TERM", "COLUMNS", "LINES", "FORCE_COLOR")
        and not name.startswith("OPSCTL")
    }
    return {**kept, "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", **more}


LONGEST = 60
"""Seconds after which a call that did not end has failed its test."""


def heed_sigint() -> None:
    """What a child of the tests does before it becomes the program."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def program(*words: str, ignore: tuple[int, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    """opsctl with the sample commands as a process of its own, which is gone afterwards.

    SIGINT does what it does at a terminal, also where the tests run in the background of a shell, which has
    it ignored; ``ignore`` names signals that are ignored from the start.
    """

    def prepare() -> None:
        heed_sigint()
        for number in ignore:
            signal.signal(number, signal.SIG_IGN)

    running = subprocess.Popen(
        [sys.executable, "-m", "tests.cli.samples", *words],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=prepare,
    )
    with running:
        try:
            yield running
        finally:
            running.kill()


def wait_for(path: Path, running: subprocess.Popen[str]) -> None:
    """Wait until a file is there; fails where the process ends before, or takes too long."""
    begun = time.monotonic()
    while not path.exists():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() - begun < LONGEST
        time.sleep(0.01)


if __name__ == "__main__":
    lazy.Root.entries = ENTRIES
    sys.exit(main())
