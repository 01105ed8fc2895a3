"""What a way of cutting a host off promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from opsctl.errors import ProgramFailed, SafetyRefusal
from opsctl.model.isolation import Cut, Order, Stand


class Driver(ABC):
    """One host, and one way to cut it off. Used by one thread at a time.

    Every method may raise Refused (12), Unreachable (13), ProgramFailed (20), Interrupted. What a host enforces itself
    can be undone by whoever has root there; ``enforced`` says where the rules are: ``host``, ``gateway``, ``cloud``, ``site``.
    """

    name: ClassVar[str]
    enforced: ClassVar[str]
    lifts_itself: ClassVar[bool] = True
    """Whether ``load`` with seconds is a dead man's handle.

    Where it is not, ``load`` takes only orders without seconds (``--hold``, which a person has said) and raises SafetyRefusal
    (23) for others; ``confirm`` looks anew whether the host is cut off; ``extend`` raises SafetyRefusal. What lifts such an
    isolation does not go through the host that is cut off, so none is stranded by it.
    """

    opens_for_a_time: ClassVar[bool] = False
    """Whether it takes orders with ``opened``; to others none is given."""

    host: str
    last: Stand | None = None
    """What ``observe`` found last, where the driver keeps it."""

    brief: bool = False
    """Whether the first ``observe`` may leave out, of a host that is open, what no rules depend on: it is cut off sooner."""

    @abstractmethod
    def observe(self) -> Stand:
        """How the host stands. Reads only."""

    @abstractmethod
    def load(self, order: Order, stand: Stand) -> None:
        """Cut off, in one transaction, by what ``observe`` found; over what was loaded before.

        It lifts itself after ``order.seconds``. Where it can only be done in part, it is, and ``observe`` says so. Nothing is
        changed where it raises.
        """

    @abstractmethod
    def confirm(self) -> None:
        """Make what is loaded permanent, over a connection made after it was loaded.

        Raises NotConverged (21) where it had lifted itself meanwhile; that is not undone.
        """

    @abstractmethod
    def extend(self, seconds: float) -> None:
        """Let what is loaded lift itself only in ``seconds`` from now. Raises NotConverged as ``confirm`` does."""

    @abstractmethod
    def snapshot(self) -> bytes:
        """Sockets, connection tracking and processes as text, within five seconds; empty where there is no way to look."""

    @abstractmethod
    def cut(self, order: Order) -> Cut:
        """End old connections that are not let through, in every network namespace. Cannot be undone."""

    @abstractmethod
    def release(self) -> None:
        """Take away what ``load`` made, and nothing else. Releasing what is open does nothing."""

    def settle(self, order: Order, stand: Stand) -> None:
        """Load ``order``, which lets through for good what is open for a time now, in one transaction.

        Raises NotConverged (21) where that had closed itself; then nothing is changed.
        """
        raise SafetyRefusal(f"{self.name} opens nothing for a time", where=self.host)

    def persist(self, order: Order) -> None:
        """Let what is confirmed come back after a reboot, or not, as ``order.persist`` says. ``release`` ends that, too.

        Raises ProgramFailed (20) where it cannot be made to.
        """
        if order.persist:
            raise ProgramFailed(f"{self.name} keeps nothing that would come back after a reboot", where=self.host)

    @abstractmethod
    def close(self) -> None:
        """Let go of connections; the next call makes them anew."""


__all__ = ["Driver"]
