"""What an action promises to the engine, and the world that it acts on."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from opsctl.errors import OpsError
from opsctl.model.part import Part
from opsctl.model.snapshots import Progress
from opsctl.model.values import value


class Kind(enum.StrEnum):
    """How the engine treats an action."""

    STATE = "state"
    CHECK = "check"
    GATE = "gate"
    EVENT = "event"


@value
class Change:
    """One thing that is missing and can be made. ``after`` names changes (by ``key``) that must have succeeded.

    ``commit``: what all the others were made for. Where it fails none of them counts as a part that succeeded.
    """

    key: str
    text: str
    after: tuple[str, ...] = ()
    commit: bool = False


class World(Protocol):
    """What an action may touch. Made anew by wiring for each run; steps share nothing else.

    ``now`` is bound once per run; ``clock`` gives the time as it passes, by which what others wrote is judged: a run
    that is taken up again days later would take newer sets for ones from the future. ``scratch`` is an empty private
    directory of this step's own, removed after it. ``keep`` is a private directory of this run that stays for a resume,
    ``kept_by`` that of another run; ``remembered`` goes with the process. ``outcomes`` tells of this run's steps that use a word: step, parameters, and how each ended
    last, as the journal has it (empty: not yet; `planned` in a dry run); ``outcomes_before`` as it was when this process first asked, which
    hundreds of hosts can ask for.
    ``by`` is who started the run; ``dry``: nothing is done in it. ``open_incidents`` are those that
    were open when it was first asked, without drills. ``entries`` are type and content of what the journal has of this run, ``note`` adds one. ``warn`` says something at the end, ``tell`` at once.
    """

    run: str
    now: datetime
    plan: Any
    by: str
    config: Any
    shell: Any
    host: str
    dry: bool
    remembered: dict[str, Any]

    def clock(self) -> datetime: ...

    def repository(self, name: str) -> Any: ...

    def upkeep(self, name: str) -> Any: ...

    def home(self, backup: str) -> str: ...

    signatures: Any

    def source(self, name: str, entry: Mapping[str, Any] | None = None) -> Any: ...

    def isolation(self, name: str, host_key: str = "", key: str = "") -> Any: ...

    def gateway_for(self, name: str) -> Any: ...

    def door(self, name: str) -> Any: ...

    def knock(self, name: str) -> Any: ...

    def service(self, name: str) -> Any: ...

    def scanner(self) -> Any: ...

    def shell_on(self, host: str | None) -> Any: ...

    def open_incidents(self) -> Sequence[str]: ...

    def prober(self, name: str, driver: Any) -> Any: ...

    def clean_room(self, name: str, place: str = "") -> Any: ...

    def clean_rooms(self, place: str = "") -> Sequence[Any]: ...

    @property
    def isolated(self) -> Any: ...

    @property
    def media(self) -> Any: ...

    @property
    def incidents(self) -> Any: ...

    @property
    def reports(self) -> Any: ...

    def versions(self) -> Mapping[str, str]: ...

    def fingerprint(self, public_key: str) -> str: ...

    def plan_digest(self) -> str: ...

    def scratch(self) -> Any: ...

    def keep(self, *parts: str) -> Path: ...

    def kept_by(self, run: str, *parts: str) -> Path: ...

    def progress(self, event: Progress) -> None: ...

    def warn(self, message: str) -> None: ...

    def tell(self, message: str) -> None: ...

    def journal_head(self) -> Mapping[str, Any]: ...

    def carry(self, repository: str, place: Path) -> Mapping[str, Any]: ...

    @property
    def kit(self) -> Any: ...

    @property
    def keys_directory(self) -> Path: ...

    @property
    def trusted(self) -> Collection[str]: ...

    def vouch_for(self, journal: Path, view: Any, history: Any) -> Mapping[str, Any]: ...

    def records(self, step: str) -> Sequence[Mapping[str, Any]]: ...

    @property
    def incident(self) -> str: ...

    def repository_id(self) -> str: ...

    def members(self) -> Mapping[str, Any]: ...

    def accept_people(self) -> None: ...

    def agreed(self, step: str) -> int: ...

    def changed_parts(self, step: str) -> Sequence[str]: ...

    def standing(self, run: str) -> str: ...

    def entries(self, types: Collection[str]) -> Sequence[tuple[str, Mapping[str, Any]]]: ...

    def runs_of(self, playbook: str) -> Sequence[Any]: ...

    def run_of(self, run: str) -> Any: ...

    def other_runs(self, playbooks: Collection[str], incident: Any) -> Sequence[Any]: ...

    def notified(self) -> Sequence[str]: ...

    def send(self, title: str, body: str) -> Mapping[str, bool]: ...

    def note(self, type: str, data: Mapping[str, Any]) -> None: ...

    def outcomes(self, word: str) -> Sequence[tuple[str, Mapping[str, Any], str]]: ...

    def outcomes_before(self, word: str) -> Sequence[tuple[str, Mapping[str, Any], str]]: ...


class Params(Part):
    """Base of every action's parameters: frozen, unknown keys refused, JSON-able."""

    strict: ClassVar[bool] = False


P = TypeVar("P", bound=Params)
S = TypeVar("S")


class Action(ABC, Generic[P, S]):
    """One word of a playbook. Constructors store nothing; an instance serves many steps at once.

    The class docstring is the action's page (``opsctl explain WORD``).
    """

    word: ClassVar[str]
    kind: ClassVar[Kind]
    Params: ClassVar[type[Params]]
    #: Whether it is done with --break-glass, when the journal may lie outside the state directory.
    break_glass: ClassVar[bool] = True

    #: Whether it only puts away what its stage worked with: what is before it is not looked at again once it was begun, or is all
    #: that is left. A room that is half gone proves nothing any more, and a service that is back is used.
    puts_away: ClassVar[bool] = False

    #: How many a step `approve` before it has to ask, where there is one at all.
    people_if_asked: ClassVar[int] = 0

    def people(self, params: Mapping[str, Any], config: Any) -> int:
        """How many have to approve it at a step `approve` before it, or it is refused in any case. Asked when a run is bound, and of a
        playbook, where parameters may still be ``${name}`` and ``config`` is None. Pure."""
        return 0

    def unprepared(self, params: Mapping[str, Any], before: Sequence[Any], config: Any) -> str | None:
        """Why it is refused in any case for what no step of its plan that is not behind it does. Asked when a run is bound. Pure."""
        return None

    @abstractmethod
    def observe(self, params: P, world: World) -> S:
        """How is it now? Reads only; looks at the effect, never at a note of ours. May raise any OpsError."""

    def locks(self, params: P) -> Sequence[str]:
        """What may only be worked on by one run at a time, as lock names."""
        return ()

    def locks_there(self, params: P, world: World) -> Sequence[str]:
        """More of them, whose names only the world knows."""
        return ()

    def patience(self, params: P) -> float:
        """Seconds for which a step is tried again from its beginning where nothing but an answer was missing (13)."""
        return 0.0

    def skip_when_busy(self, params: P) -> bool:
        """Whether somebody else holding the lock means that there is nothing to do here."""
        return False

    def let_go(self, params: P, world: World) -> None:
        """Called when the step is over, however it ended: connections that it held are closed here. Raises nothing."""

    def result(self, params: P, seen: S) -> Mapping[str, Any]:
        """What the step has to tell, JSON-able, from the last observation. Pure."""
        return {}


class StateAction(Action[P, S]):
    """Brings the world into a state: observe, plan, apply, observe again."""

    kind = Kind.STATE

    @abstractmethod
    def plan(self, params: P, seen: S) -> list[Change]:
        """What is missing? Pure. Empty: nothing to do."""

    @abstractmethod
    def apply(self, params: P, change: Change, world: World) -> None:
        """Make this one change. May be killed anywhere; the next run observes and plans anew."""

    def asked(self, params: P, seen: S) -> int:
        """How many things were asked for, where those that need no change count as well for the exit code. Pure."""
        return 0

    def missing(self, params: P, seen: S, changes: Sequence[Change]) -> str:
        """The sentence for NotConverged: what the second look still found missing."""
        return "still missing after the work: " + "; ".join(change.text for change in changes)


class CheckAction(Action[P, S]):
    """Looks and finds; changes nothing that it looks at."""

    kind = Kind.CHECK

    @abstractmethod
    def findings(self, params: P, seen: S) -> Sequence[OpsError]:
        """What is wrong. Pure. Empty: all is well."""


class GateAction(Action[P, S]):
    """Waits for what a person has to say."""

    kind = Kind.GATE
    #: Whether a gate that was open once stays so where the run is taken up again before anything behind it was begun.
    lasting: ClassVar[bool] = True
    #: Whether that it is open shows that what stands before it was acted on: an approval that was used does not run out.
    acted: ClassVar[bool] = False

    @abstractmethod
    def waits_for(self, params: P, seen: S) -> str | None:
        """What is still to be said, or None where the gate is open. Pure. Raises SafetyRefusal for a no."""

    def ask(self, params: P, seen: S, world: World) -> None:
        """Called each time that it waits, before that is told: writes down what people have to know to say it."""


class EventAction(Action[P, S]):
    """Happens once per run, step and item."""

    kind = Kind.EVENT

    @abstractmethod
    def happen(self, params: P, world: World) -> Mapping[str, Any]:
        """Do it; returns what to keep in the journal. ``observe`` is asked first only for dry runs."""


@value
class Outcome:
    """Words for how a step stands. ``PARTLY`` only of one with many items, as many of which failed as it tolerates."""

    OK: ClassVar[str] = "ok"
    PLANNED: ClassVar[str] = "planned"
    CHANGED: ClassVar[str] = "changed"
    PARTLY: ClassVar[str] = "partly"
    WAITING: ClassVar[str] = "waiting"
    FAILED: ClassVar[str] = "failed"
    SKIPPED: ClassVar[str] = "skipped"
    UNKNOWN: ClassVar[str] = "unknown"


DONE = frozenset({Outcome.OK, Outcome.CHANGED})


@value
class StepResult:
    """How one step (for one item) ended, and why. ``codes`` holds one exit code for each thing it was asked for."""

    step: str
    item: str | None
    outcome: str
    because: str
    codes: tuple[int, ...] = (0,)
    errors: tuple[OpsError, ...] = ()
    changes: tuple[str, ...] = ()
    result: Mapping[str, Any] = field(default_factory=dict)


Registry = Callable[[str], Action]
