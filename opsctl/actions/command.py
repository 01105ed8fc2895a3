"""command: a program of the site's own, run once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opsctl.actions.interface import EventAction, Params, World


class CommandParams(Params):
    """``argv`` is the program with its arguments, never a shell line; ``seconds`` is its time limit."""

    argv: tuple[str, ...]
    seconds: int = 600


@dataclass(frozen=True)
class Seen:
    """Nothing can be seen of what a command will do."""

    argv: Sequence[str]


class Command(EventAction[CommandParams, Seen]):
    """Runs a program of the site's own once per run and item.

    with:
      argv     the program and its arguments, a list; no shell is involved
      seconds  its time limit (600)

    If opsctl is killed between starting it and writing down how it ended, nobody knows; then `on_unknown: repeat` runs it
    again on resume, and `on_unknown: ask` (the default) asks a person.
    """

    word = "command"
    Params = CommandParams

    def observe(self, params: CommandParams, world: World) -> Seen:
        return Seen(params.argv)

    def happen(self, params: CommandParams, world: World) -> Mapping[str, Any]:
        done = world.shell.run(list(params.argv), timeout=params.seconds)
        return {"seconds": round(done.seconds, 3), "stdout": done.text[-2000:]}
