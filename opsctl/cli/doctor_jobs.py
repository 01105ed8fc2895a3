"""Many looks at once, each within a time limit, so that what does not answer holds nothing else up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from opsctl.cli.doctor import UNCHECKED, WRONG, Check
from opsctl.errors import OpsError

AS_A_BACKUP = "a backup would fail at this too: put it right, and ask doctor again"
_POLL = 0.2  # seconds between two looks at whether a person wants to end


@dataclass(frozen=True)
class Job:
    """Something to look at. ``limit`` is in seconds; ``outside``: it asks something beyond this machine.

    ``hint`` is for the one that takes longer than that.
    """

    name: str
    look: Callable[[], Sequence[Check]]
    limit: float
    outside: bool = False
    hint: str = "is it reachable, and does it answer in time?"


class _Running:
    """One job on a thread of its own. A daemon: the process can end although a call in it never does."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.checks: Sequence[Check] = ()
        self.failure: BaseException | None = None
        self.over = threading.Event()
        self.begun = time.monotonic()
        threading.Thread(target=self._run, name=f"doctor {job.name}", daemon=True).start()

    def _run(self) -> None:
        try:
            self.checks = self.job.look()
        except BaseException as error:
            self.failure = error
        finally:
            self.over.set()

    def result(self, ended: Callable[[], None]) -> Sequence[Check]:
        """The checks; ``ended`` raises where a person wants to end. What is no OpsError is raised as it is."""
        while not self.over.wait(_POLL):
            ended()
            if time.monotonic() - self.begun > self.job.limit:
                return [Check(self.job.name, WRONG, f"no answer within {self.job.limit:g} s", self.job.hint)]
        if self.failure is None:
            return self.checks
        if isinstance(self.failure, OpsError) and self.failure.code < 100:
            return [wrong(self.job.name, self.failure)]
        raise self.failure


def look(jobs: Sequence[Job], *, offline: bool, ended: Callable[[], None]) -> list[list[Check]]:
    """The checks of each job, in their order. With ``offline`` those that ask beyond this machine are not done."""
    running = [None if offline and job.outside else _Running(job) for job in jobs]
    found: list[list[Check]] = []
    for job, one in zip(jobs, running, strict=True):
        if one is None:
            found.append([Check(job.name, UNCHECKED, "--offline: nothing beyond this machine is asked")])
        else:
            found.append(list(one.result(ended)))
    return found


def wrong(name: str, error: OpsError) -> Check:
    """An error as a check."""
    return Check(name, WRONG, error.message, error.hint or AS_A_BACKUP)
