"""The executor of an emergency: threads in this process, nothing to start, nothing that can be down."""

from __future__ import annotations

import collections
import queue
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor

from opsctl.actions.interface import DONE, Outcome, StepResult
from opsctl.engine.executors.interface import DONE_BEFORE, Before, Executor
from opsctl.errors import Interrupted
from opsctl.model.plan import BoundItem, BoundPlan, BoundStep

POLL = 0.1
ASK_AGAIN = 2.0


class LocalExecutor(Executor):
    """Threads share the work; the calling thread alone decides and reports."""

    def __init__(self, *, stopped: threading.Event | None = None, workers: int = 16) -> None:
        self.stopped = stopped or threading.Event()
        self.workers = workers

    def execute(
        self,
        plan: BoundPlan,
        perform: Callable[..., StepResult],
        *,
        before: Before,
        on_result: Callable[[BoundStep, StepResult], None],
        patient: bool = False,
    ) -> None:
        with ThreadPoolExecutor(self.workers, thread_name_prefix="step") as pool:
            _Run(plan, perform, before, on_result, patient, self.stopped, pool).go()


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
        self.todo: dict[str, collections.deque[BoundItem]] = {}
        self.outcomes: dict[str, str] = {}
        self.left: dict[str, int] = {}
        self.worst: dict[str, str] = {}
        self.running = 0
        self.waiting: list[tuple[float, BoundStep, BoundItem]] = []
        self.shown_waiting: set[tuple[str, str | None]] = set()
        self.failure: BaseException | None = None

    def go(self) -> None:
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
            self._took(step, item, result, ready)
        if self.failure is not None:
            raise self.failure
        if self.stopped.is_set():
            raise Interrupted()

    def _open(self, step: BoundStep, ready: collections.deque[BoundStep]) -> None:
        bad = [earlier for earlier in step.after
               if self.outcomes[earlier] not in DONE and not self._forgiven(earlier)]
        self.left[step.id] = len(step.items)
        self.worst[step.id] = Outcome.OK
        if bad and not step.always:
            because = f"'{bad[0]}' {_past(self.outcomes[bad[0]])}"
            for item in step.items:
                self._took(step, item, StepResult(step.id, item.item, Outcome.SKIPPED, because), ready)
        elif step.items:
            self.todo[step.id] = collections.deque(step.items)
            self._start(step, ready)
        if not step.items:
            self._end(step, ready)

    def _forgiven(self, step_id: str) -> bool:
        return (self.steps[step_id].may_fail and self.outcomes[step_id] in (Outcome.FAILED, Outcome.PLANNED)) or (
            self.outcomes[step_id] == Outcome.PLANNED
        )

    def _start(self, step: BoundStep, ready: collections.deque[BoundStep]) -> None:
        todo = self.todo[step.id]
        under_way = self.left[step.id] - len(todo)
        while todo and under_way < step.at_once and self.failure is None and not self.stopped.is_set():
            item = todo.popleft()
            known = self.before.done.get((step.id, item.item))
            if known is not None:
                self._took(step, item, StepResult(step.id, item.item, known, DONE_BEFORE), ready, start=False)
                continue
            self._submit(step, item)
            under_way += 1

    def _submit(self, step: BoundStep, item: BoundItem) -> None:
        self.running += 1
        unknown = (step.id, item.item) in self.before.unknown
        self.pool.submit(self._work, step, item, unknown)

    def _work(self, step: BoundStep, item: BoundItem, unknown: bool) -> None:
        try:
            self.ended.put((step, item, self.perform(step, item, unknown=unknown)))
        except BaseException as error:
            self.ended.put((step, item, error))

    def _took(
        self, step: BoundStep, item: BoundItem, result: StepResult, ready: collections.deque[BoundStep],
        *, start: bool = True,
    ) -> None:
        if result.outcome == Outcome.WAITING:
            key = (step.id, item.item)
            if key not in self.shown_waiting:
                self.shown_waiting.add(key)
                self.on_result(step, result)
            self.waiting.append((time.monotonic() + ASK_AGAIN, step, item))
            return
        self.on_result(step, result)
        self.left[step.id] -= 1
        if _worse(result.outcome, self.worst[step.id]):
            self.worst[step.id] = result.outcome
        if self.left[step.id]:
            if start and step.id in self.todo:
                self._start(step, ready)
            return
        self._end(step, ready)

    def _end(self, step: BoundStep, ready: collections.deque[BoundStep]) -> None:
        self.outcomes[step.id] = self.worst[step.id]
        self.todo.pop(step.id, None)
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


def _worse(outcome: str, than: str) -> bool:
    order: Collection[str] = (Outcome.OK, Outcome.CHANGED, Outcome.PLANNED, Outcome.SKIPPED, Outcome.UNKNOWN,
                              Outcome.FAILED)
    ranks = {word: rank for rank, word in enumerate(order)}
    return ranks[outcome] > ranks[than]


def _past(outcome: str) -> str:
    return {Outcome.FAILED: "failed", Outcome.SKIPPED: "was skipped", Outcome.UNKNOWN: "ended unknown"}.get(
        outcome, f"is {outcome}")
