"""How long a store may be silent while restic works with it: restic itself goes on trying for a quarter of an hour."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from opsctl.errors import OpsError, Unreachable
from opsctl.repositories.store import LocalStore, Store

_LOOK = 15.0  # seconds between two looks, at most
_LOOKS = 8  # at the least, before a store is called silent


@contextmanager
def listening(store: Store | None, limit: float) -> Iterator[threading.Event | None]:
    """While this lasts the store is asked now and then; the event is set once it has not answered for ``limit`` seconds.

    None where nobody has to ask: of a folder of this machine, and where the store cannot be read directly.
    """
    if store is None or isinstance(store, LocalStore):
        yield None
        return
    silent, over = threading.Event(), threading.Event()
    listener = threading.Thread(target=_listen, args=(store, limit, silent, over), daemon=True)
    listener.start()
    try:
        yield silent
    finally:
        over.set()


def _listen(store: Store, limit: float, silent: threading.Event, over: threading.Event) -> None:
    since: float | None = None
    while not over.wait(min(_LOOK, limit / _LOOKS)):
        begun = time.monotonic()
        try:
            store.config()
        except Unreachable:
            since = begun if since is None else since
            if time.monotonic() - since >= limit:
                silent.set()
                return
            continue
        except OpsError:
            pass  # it answers
        since = None
