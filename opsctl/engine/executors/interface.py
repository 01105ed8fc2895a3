"""What an executor promises: the graph's order, and each (step, item) at most once until it is asked again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import field

from opsctl.actions.interface import StepResult
from opsctl.model.plan import BoundPlan, BoundStep
from opsctl.model.values import value

Key = tuple[str, str | None]

#: Why a step that an earlier attempt has done is not done again.
DONE_BEFORE = "done before"


@value
class Before:
    """What an earlier run of the same plan left: keys that are done, and events begun whose end is unknown."""

    done: Mapping[Key, str] = field(default_factory=dict)
    unknown: Collection[Key] = ()


class Executor(ABC):
    """Runs the steps of a plan.

    A step starts when every step in its ``after`` has ended. One that follows a failed, skipped or unknown step is
    skipped with the reason, unless it is ``always``; one that follows a waiting step is not started. A failed
    step with ``may_fail`` counts as ended well, and so does one that came to *partly*. Items of one step run
    ``at_once`` at a time, as ``pace`` has it.
    """

    @abstractmethod
    def execute(
        self,
        plan: BoundPlan,
        perform: Callable[..., StepResult],
        *,
        before: Before,
        on_result: Callable[[BoundStep, StepResult], None],
        patient: bool = False,
    ) -> Mapping[str, str]:
        """Run to the end, giving each result to ``on_result`` (in the calling thread); what each step came to that ended.

        ``perform(step, item, unknown=bool)`` does one. With ``patient`` waiting gates are asked again until they
        open. Raises Interrupted when told to stop, after everything under way has ended; a bug in ``perform`` is raised
        here after the rest has ended.
        """
