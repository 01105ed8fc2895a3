"""How SIGINT and SIGTERM end a command that runs work: children first, within two seconds, resumable."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from opsctl.cli import Stopped
from opsctl.cli.session import Session

PATIENCE = 1.8
"""Seconds between the signal and the end of the process, whatever still hangs."""

OURS = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = b"\x1b[?25h"


@contextmanager
def working(session: Session) -> Iterator[threading.Event]:
    """Prepare for signals while work runs; yields the event that the engine polls, set by the first signal.

    The first signal ends every command of ``shells.local``, whose calls then raise Interrupted, and sets the
    event. The second one ends the process at once, and so does the end of ``PATIENCE``, after the session's
    last words; the second one as well where the world may be left half-way. A person being asked is not asked any longer: Stopped is raised. The handlers from before come
    back at the end; a signal that was ignored (``nohup``) stays so. In another thread than the main one
    nothing is installed.
    """
    stopping = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        if session.hooks.asking:
            raise Stopped(number)

    # Two signals in a row may both be taken by a thread that is not the main one, and then Python runs no
    # handler until the main one wakes up. Their numbers arrive here whichever thread takes them.
    arrived, note = os.pipe()
    over, end = os.pipe()
    os.set_blocking(note, False)
    watcher = threading.Thread(target=_watch, args=(session, stopping, arrived, over), name="signals", daemon=True)
    watcher.start()
    noted_before = signal.set_wakeup_fd(note, warn_on_full_buffer=False)
    before = {number: signal.signal(number, on_signal) for number in OURS
              if signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(noted_before)
        os.write(end, b"!")
        watcher.join()
        for descriptor in (arrived, note, over, end):
            os.close(descriptor)


def _watch(session: Session, stopping: threading.Event, arrived: int, over: int) -> None:
    """Act on the signals that arrive, until it is over."""
    from opsctl.shells import local

    signal.pthread_sigmask(signal.SIG_BLOCK, OURS)
    hooks = session.hooks
    deadline: float | None = None
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([arrived, over], [], [], left)
        if over in ready:
            return
        for number in os.read(arrived, 64) if ready else b"":
            if number not in OURS:
                continue
            if hooks.signal is not None:
                if hooks.interrupted is not None and hooks.last_words is not None and not hooks.told:
                    hooks.last_words(number)
                _leave(number)
            hooks.signal = number
            deadline = time.monotonic() + PATIENCE
            local.stop(number)
            stopping.set()
        if not ready and hooks.signal is not None:
            if hooks.last_words is not None:
                hooks.last_words(hooks.signal)
            _leave(hooks.signal)


def _leave(number: int) -> None:
    if os.isatty(2):
        os.write(2, _SHOW_CURSOR)  # a progress bar had hidden it
    os._exit(128 + number)
