"""The command line: ``main`` is the one door from what was raised to exit codes.

Standard library only at the top, since bootstrap.py imports from this package before anything is installed.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from io import StringIO
from types import FrameType, TracebackType
from typing import IO, Any

from opsctl import __version__
from opsctl.cli import completion, everywhere, render
from opsctl.cli.report import Out, Report
from opsctl.cli.session import Session, someone_is_there
from opsctl.errors import Interrupted, OpsError, UsageError

INTERRUPTED = (130, 143)
_GARBAGE = 200_000  # objects; at Python's own 700 a short command is searched for garbage hundreds of times
#: The commands that a timer calls, and whose troubles people are told of.
TOLD = frozenset({"backup run", "backup copy", "verify", "status", "isolate status"})


class Stopped(KeyboardInterrupt):
    """A signal that ends what is not prepared for one."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@dataclass
class _Call:
    """One call: what was typed, where it prints, and what became known of it."""

    words: list[str]
    session: Session
    out: IO[str] = field(default_factory=lambda: sys.stdout)
    err: IO[str] = field(default_factory=lambda: sys.stderr)
    command: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; nothing is raised, everything is printed.

    ``argv`` None is the program itself: the words come from ``sys.argv``, and the process ends here, after an
    interruption without waiting for threads that still hang in a call.
    """
    if argv is None:
        gc.set_threshold(_GARBAGE)
    words = list(sys.argv[1:] if argv is None else argv)
    if completion.asked():
        return completion.answer(words)
    code = _main(words)
    if argv is None:
        _end(code)
    return code


def _end(code: int) -> None:
    """End this process without taking every object apart, which takes as long as loading a configuration.

    Returns where the interpreter has to do it: threads have to be waited for, or the output cannot be written.
    """
    if any(_hangs(thread) for thread in threading.enumerate()):
        if code in INTERRUPTED:
            os._exit(code)
        return
    atexit._run_exitfuncs()
    try:
        for stream in filter(None, (sys.stdout, sys.stderr)):  # None where it was closed from the start
            stream.flush()
    except (OSError, ValueError):
        return
    os._exit(code)


def _hangs(thread: threading.Thread) -> bool:
    return thread is not threading.main_thread() and not thread.daemon


def _main(words: list[str]) -> int:
    _print_what_cannot_be_encoded(sys.stdout, sys.stderr)
    call = _Call(words, _guess_session(words))
    call.session.hooks.last_words = lambda number: _print(call, _failed(Interrupted(signal=number)))
    try:
        with _sigterm_raises():
            report = _perform(call)
    except KeyboardInterrupt as error:
        report = _failed(Interrupted(signal=getattr(error, "number", signal.SIGINT)))
    except BrokenPipeError as error:
        if not render.reader_went_away(call.out):
            report = _failed(_bug(error, call.session))
        else:
            report = Report()
    except OpsError as error:
        report = _failed(error)
    except (Exception, SystemExit) as error:
        report = _failed(_bug(error, call.session))
    session, site = call.session.hooks.session or call.session, call.session.hooks.site
    if call.command in TOLD:
        report = _told(call.command, session, report, site)
    if site is None or not site.written or not _announces(site):
        return _print(call, report)
    if call.session.json:
        return _print(call, _announced(report, session, site))
    code = _print(call, report)
    # Whoever is at work reads on while others are told.
    said = _announced(Report(exit_code=code), session, site)
    for warning in said.warnings:
        render.complain(f"opsctl: warning: {render.shown(warning)}")
    return said.code


def _told(command: str, session: Session, report: Report, site: Any) -> Report:
    """Keep open incidents after a backup, and tell people what a timer's call came to; what could not be done is added and changes nothing else."""
    from opsctl.cli import notices

    warnings = []
    if command == "backup run" and site is not None:
        from opsctl.cli.incident_keep import with_backup

        warnings += with_backup(session, site)
    warnings += notices.tell(command, session, report, site)
    return replace(report, warnings=[*report.warnings, *warnings]) if warnings else report


def _announces(site: Any) -> bool:
    """Whether this call opened an incident, took one over or closed it, which people are told of whoever called."""
    from opsctl.model.incident import CLOSED, OPENED, TAKEN_OVER

    return any(kind in (OPENED, TAKEN_OVER, CLOSED) for kind, _ in site.written)


def _announced(report: Report, session: Session, site: Any) -> Report:
    """Tell people of an incident; 3 where somebody could not be told."""
    from opsctl.cli import notices

    warnings = notices.announce(session, site)
    return replace(report, warnings=[*report.warnings, *warnings], exit_code=report.code or 3) if warnings else report


def _guess_session(words: Sequence[str]) -> Session:
    """The session for errors that come before the options are read: a flag anywhere before ``--`` counts."""
    end = words.index("--") if "--" in words else None
    flags = [word for word in words[:end] if everywhere.is_flag(word)]
    return Session(
        json=everywhere.has(flags, "json"), quiet=everywhere.has(flags, "quiet"),
        verbose=everywhere.has(flags, "verbose"), interactive=someone_is_there(),
    )


def _perform(call: _Call) -> Report:
    if call.words and set(call.words) <= {"--version", "--json"} and "--version" in call.words:
        return _version()
    from opsctl.cli import lazy

    root = lazy.make_root()
    front, rest = everywhere.hoist(call.words, lazy.values_after(root))
    call.session = replace(
        call.session, json=everywhere.has(front, "json"), quiet=everywhere.has(front, "quiet"),
        verbose=everywhere.has(front, "verbose"), break_glass=everywhere.has(front, "break-glass"),
    )
    if everywhere.has(front, "version"):
        return _version()
    names, command, left = lazy.walk(root, rest)
    call.command = " ".join(names)
    if not left and hasattr(command, "list_commands"):
        raise _nothing_asked(call, names, command)
    return _invoke(call, root, [*front, *rest])


def _invoke(call: _Call, root: Any, words: list[str]) -> Report:
    """Let typer parse and call; usage errors, help and exits become ours."""
    import typer

    from opsctl.cli.lazy import PROGRAM, UsageProblem

    # With --json nothing but the document may reach standard output, so what is printed on the way is caught.
    printed = StringIO()
    try:
        with redirect_stdout(printed) if call.session.json else _as_it_is(), \
                root.make_context(PROGRAM, words, obj=call.session) as context:
            found = root.invoke(context)
    except typer.Exit as end:
        found = end.exit_code
    except typer.Abort as error:
        raise Interrupted() from error
    except UsageProblem as error:
        raise _usage_error(error) from error
    text = printed.getvalue()
    if isinstance(found, Report):
        if text:
            render.complain(text)
        return found
    return Report(result={"text": text} if text else {}, exit_code=found if isinstance(found, int) else 0)


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


def _version() -> Report:
    def text(out: Out) -> None:
        out.line(f"opsctl {__version__}")

    return Report(result={"version": __version__}, text=text)


def _usage_error(problem: Any) -> UsageError:
    context = problem.ctx
    path = context.command_path if context is not None else "opsctl"
    usage = " ".join(context.get_usage().split()[1:]) if context is not None else ""
    hint = f"usage: {usage}; `{path} --help` says more" if usage else f"`{path} --help` says more"
    return UsageError(problem.format_message().rstrip("."), hint=hint)


def _nothing_asked(call: _Call, names: Sequence[str], command: Any) -> UsageError:
    """A group without a command: its help for people, and the error."""
    what = " ".join(["opsctl", *names])
    if not call.session.json:
        context = command.make_context(what, [], resilient_parsing=True)
        render.complain(command.get_help(context) + "\n")
    return UsageError("which command?", hint=f"one of {', '.join(command.list_commands(None))}" if names else "opsctl status says how all stands")


def _failed(error: OpsError) -> Report:
    return Report(errors=[error])


def _bug(error: BaseException, session: Session) -> OpsError:
    """One line for something that nobody raised on purpose; its trace goes where it lasts."""
    from traceback import format_exception

    summary = f"{type(error).__name__} in {_place(error.__traceback__)}"
    trace = "".join(format_exception(error))
    place = None
    if session.hooks.on_bug is not None:
        try:
            place = session.hooks.on_bug(summary, trace)
        except Exception as second:
            trace += "".join(format_exception(second))
    if session.verbose:
        render.complain(trace)
    if place is not None:
        return OpsError(f"a bug: {summary}; the trace is in {place}")
    seen = "the trace is above" if session.verbose else "--verbose shows the trace"
    return OpsError(f"a bug: {summary}; {seen}")


def _place(trace: TracebackType | None) -> str:
    """``module:line`` of the last frame that is ours, or of the last one."""
    place = "nowhere"
    ours = False
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "?")
        if module.split(".")[0] == "opsctl" or not ours:
            place = f"{module}:{trace.tb_lineno}"
            ours = module.split(".")[0] == "opsctl"
        trace = trace.tb_next
    return place


def _print(call: _Call, report: Report) -> int:
    """Print the report; the exit code, also of what went wrong while printing."""
    hooks = call.session.hooks
    hooks.told = True
    run = report.run or hooks.run
    report = replace(report, run=run)
    for error in report.errors:
        # Who polls for the end of work does not know which signal asked for it.
        if isinstance(error, Interrupted) and hooks.signal is not None:
            error.signal = hooks.signal
        if isinstance(error, Interrupted) and call.session.break_glass and run:
            error.hint = error.hint or f"`opsctl resume {run} --break-glass` goes on"
        if isinstance(error, Interrupted) and hooks.interrupted is not None:
            error.message += f"; {hooks.interrupted()}"
    try:
        report = _print_once(call, report)
    except BrokenPipeError:
        # The reader had enough; what was done stays done, and the code says how.
        render.stop_printing(call.out)
    except KeyboardInterrupt:
        return Interrupted().exit_code
    except OSError as error:
        render.stop_printing(call.out)
        render.complain(f"opsctl: the output could not be written: {error.strerror}")
        return report.code or OpsError.code
    except Exception as error:
        report = Report(run=run, errors=[_bug(error, call.session)])
        _print_once(call, report)
    return report.code


def _print_once(call: _Call, report: Report) -> Report:
    session = call.session
    return render.print_report(
        report, call.command, as_json=session.json, quiet=session.quiet, out=call.out, err=call.err,
        environ=session.environ,
    )


def _print_what_cannot_be_encoded(*streams: Any) -> None:
    """A locale that lacks a letter gets its escape instead of an error."""
    for stream in streams:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """SIGTERM ends a command like SIGINT does; those that run work install more (``signals.working``)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
