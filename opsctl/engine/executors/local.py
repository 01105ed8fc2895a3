"""The executor of an emergency: threads in this process, nothing to start, nothing that can be down."""

from __future__ import annotations

import collections
import contextlib
import gc
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from opsctl.actions.interface import DONE, Outcome, StepResult
from opsctl.engine.executors.interface import DONE_BEFORE, Before, Executor
from opsctl.engine.executors.pace import Pace, past
from opsctl.errors import Interrupted
from opsctl.model.plan import BoundItem, BoundPlan, BoundStep

POLL = 0.1
ASK_AGAIN = 2.0
_DESCRIPTORS = 16
"""An item's share of open files: two connections, or a command with its pipes, and a lock, with room to spare."""


class LocalExecutor(Executor):
    """Threads share the work; the calling thread alone decides and reports."""

    def __init__(self, *, stopped: threading.Event | None = None) -> None:
        self.stopped = stopped or threading.Event()

    def execute(
        self,
        plan: BoundPlan,
        perform: Callable[..., StepResult],
        *,
        before: Before,
        on_result: Callable[[BoundStep, StepResult], None],
        patient: bool = False,
    ) -> Mapping[str, str]:
        # Wide enough for all branches at once, so that none waits for another's silent hosts; a thread is
        # made only where none is free.
        width = sum(min(step.at_once, len(step.items)) for step in plan.steps)
        with _descriptors(width), _seldom_collected(), ThreadPoolExecutor(max(width, 1), thread_name_prefix="step") as pool:
            return _Run(plan, perform, before, on_result, patient, self.stopped, pool).go()


@contextlib.contextmanager
def _seldom_collected() -> Iterator[None]:
    """Every few hundred objects the collector looks through those of all the hundreds that are under way."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextlib.contextmanager
def _descriptors(items: int) -> Iterator[None]:
    """Room for the files of so many items at once, as far as the system allows; many systems begin with 1,024."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _DESCRIPTORS * items if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS * items, hard)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        yield
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class _Run:
    """One execution: which steps are open, which items are under way, what has ended how."""

    def __init__(
        self,
        plan: BoundPlan,
        perform: Callable[..., StepResult],
        before: Before,
        on_result: Callable[[BoundStep, StepResult], None],
        patient: bool,
        stopped: threading.Event,
        pool: ThreadPoolExecutor,
    ) -> None:
        self.steps = {step.id: step for step in plan.steps}
        self.perform = perform
        self.before = before
        self.on_result = on_result
        self.patient = patient
        self.stopped = stopped
        self.pool = pool
        self.ended: queue.SimpleQueue[tuple[BoundStep, BoundItem, StepResult | BaseException]] = queue.SimpleQueue()
        self.blocked_by = {step.id: len(set(step.after)) for step in plan.steps}
        self.followers = collections.defaultdict(list)
        for step in plan.steps:
            for earlier in set(step.after):
                self.followers[earlier].append(step.id)
        self.pace: dict[str, Pace] = {}
        self.outcomes: dict[str, str] = {}
        self.running = 0
        self.waiting: list[tuple[float, BoundStep, BoundItem]] = []
        self.shown_waiting: dict[tuple[str, str | None], str] = {}
        self.failure: BaseException | None = None

    def go(self) -> Mapping[str, str]:
        ready = collections.deque(step for step in self.steps.values() if not step.after)
        while True:
            while ready and self.failure is None and not self.stopped.is_set():
                self._open(ready.popleft(), ready)
            if not self.running and (self.failure is not None or not (self.patient and self.waiting)):
                break
            try:
                step, item, result = self.ended.get(timeout=POLL)
            except queue.Empty:
                self._ask_again()
                if self.stopped.is_set() and not self.running:
                    break
                continue
            self.running -= 1
            if isinstance(result, BaseException):
                self.failure = self.failure or result
                continue
            self._took(step, item, result)
            self._start(step, ready)
        if self.failure is not None:
            raise self.failure
        if self.stopped.is_set():
            raise Interrupted()
        return self.outcomes

    def _open(self, step: BoundStep, ready: collections.deque[BoundStep]) -> None:
        bad = [earlier for earlier in step.after
               if self.outcomes[earlier] not in (*DONE, Outcome.PARTLY) and not self._forgiven(earlier)]
        self.pace[step.id] = Pace(step)
        if bad and not step.always:
            self._give_up(step, f"'{bad[0]}' {past(self.outcomes[bad[0]])}")
        self._start(step, ready)

    def _forgiven(self, step_id: str) -> bool:
        return (self.steps[step_id].may_fail and self.outcomes[step_id] in (Outcome.FAILED, Outcome.PLANNED)) or (
            self.outcomes[step_id] == Outcome.PLANNED
        )

    def _start(self, step: BoundStep, ready: collections.deque[BoundStep]) -> None:
        """Begin what may begin; where nothing is left and nothing under way the step has ended."""
        pace = self.pace[step.id]
        while self.failure is None and not self.stopped.is_set() and (item := pace.begin()) is not None:
            known = self.before.done.get((step.id, item.item))
            if known is None:
                self._submit(step, item)
            else:
                self._took(step, item, StepResult(step.id, item.item, known, DONE_BEFORE))
        if pace.stopped is not None:
            self._give_up(step, f"not begun: {pace.stopped}")
        if pace.over:
            self._end(step, ready)

    def _give_up(self, step: BoundStep, because: str) -> None:
        for item in self.pace[step.id].give_up():
            self.on_result(step, StepResult(step.id, item.item, Outcome.SKIPPED, because))

    def _submit(self, step: BoundStep, item: BoundItem) -> None:
        self.running += 1
        unknown = (step.id, item.item) in self.before.unknown
        self.pool.submit(self._work, step, item, unknown)

    def _work(self, step: BoundStep, item: BoundItem, unknown: bool) -> None:
        try:
            self.ended.put((step, item, self.perform(step, item, unknown=unknown)))
        except BaseException as error:
            self.ended.put((step, item, error))

    def _took(self, step: BoundStep, item: BoundItem, result: StepResult) -> None:
        if result.outcome == Outcome.WAITING:
            key = (step.id, item.item)
            if self.shown_waiting.get(key) != result.because:
                self.shown_waiting[key] = result.because
                self.on_result(step, result)
            self.waiting.append((time.monotonic() + ASK_AGAIN, step, item))
            return
        self.on_result(step, result)
        self.pace[step.id].ended(item, result.outcome)

    def _end(self, step: BoundStep, ready: collections.deque[BoundStep]) -> None:
        self.outcomes[step.id] = self.pace[step.id].outcome
        for follower in self.followers[step.id]:
            self.blocked_by[follower] -= 1
            if not self.blocked_by[follower]:
                ready.append(self.steps[follower])

    def _ask_again(self) -> None:
        if not self.patient or self.stopped.is_set() or self.failure is not None:
            return
        now = time.monotonic()
        due = [entry for entry in self.waiting if entry[0] <= now]
        self.waiting = [entry for entry in self.waiting if entry[0] > now]
        for _, step, item in due:
            self._submit(step, item)
