"""The folder of one demo, and the real command line run in it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsctl.cli.report import Mark, Out, Tone
from opsctl.errors import ProgramFailed

if TYPE_CHECKING:
    from opsctl.demo.killing import Killer


@dataclass
class Lab:
    """The folder of one demo, with everything in it."""

    root: Path
    out: Out | None
    facts: dict[str, Any] = field(default_factory=dict)
    parts: int = 0  # tables as a proof counts them
    began: float = field(default_factory=time.monotonic)
    killer: Killer | None = None

    def say(self, text: str, tone: Tone | None = None) -> None:
        if self.out is not None:
            self.out.line(Mark(text, tone) if tone else text)
            sys.stdout.flush()

    def chapter(self, text: str) -> None:
        if self.out is not None:
            self.out.heading(f"DRILL {time.monotonic() - self.began:5.0f} s  {text}")
            sys.stdout.flush()

    def opsctl(
        self, *words: str, at: datetime, expect: Sequence[int] = (0,), config: Path | None = None,
        home: Path | None = None, show: int = 12, inside: Sequence[str] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Run the real command line, show it and what it says; ProgramFailed where it ends otherwise than expected.

        ``inside``: words that start a program on another machine of the lab.
        """
        base = [*inside, sys.executable, "-m", "opsctl", *(["--config", str(config)] if config else [])]
        self.say(f"$ opsctl {shlex.join(words)}", Tone.STRONG)
        env = {**os.environ, "OPSCTL_CLOCK": at.isoformat(), "NO_COLOR": "1", "TERM": "dumb"}
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), env.get("PYTHONPATH", "")]))
        if home is not None:
            env["HOME"] = env["XDG_STATE_HOME"] = str(home)
            env.pop("OPSCTL_CONFIG", None)
        done = self._run([*base, *words], env)
        while done.returncode < 0:
            again = ["resume", begun] if (begun := self._begun(base, env)) else list(words)
            self.say(f"  DRILL: opsctl is killed (kill -9); $ opsctl {shlex.join(again)}", Tone.WARN)
            done = self._run([*base, *again], env)
        said = [line for line in done.stderr.splitlines() if "OPSCTL_CLOCK" not in line]
        first_wrong = next((at for at, line in enumerate(said) if line.startswith("opsctl: ")), len(said))
        for line in said[:min(first_wrong, show)]:  # what is said while it works comes before the result
            self.say(f"  {line}", Tone.QUIET)
        if first_wrong > show:
            self.say(f"  … {first_wrong - show} more lines", Tone.QUIET)
        lines = done.stdout.splitlines()
        for line in lines[:show]:
            self.say(f"  {line}")
        if len(lines) > show:
            self.say(f"  … {len(lines) - show} more lines", Tone.QUIET)
        # What went wrong and what to do about it is never cut.
        for line in said[first_wrong:]:
            self.say(f"  {line}")
        if done.returncode not in expect:
            raise ProgramFailed(f"the demo's `opsctl {words[0]}` ended with {done.returncode}: {done.stderr.strip()[-500:]}",
                                hint=f"the lab is in {self.root}")
        return done

    def _run(self, argv: Sequence[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        run = self.killer.run if self.killer is not None else subprocess.run
        return run(list(argv), env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=self.root, errors="replace")

    def _begun(self, base: Sequence[str], env: Mapping[str, str]) -> str | None:
        """The run that the command which was killed had begun, if it got as far as that."""
        said = subprocess.run([*base, "--json", "runs"], env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=self.root)
        return next((one["run"] for one in json.loads(said.stdout)["result"]["runs"] if one["state"] == "interrupted"), None)
