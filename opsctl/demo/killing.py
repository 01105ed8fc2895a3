"""Kill -9 at moments that nobody chose: the demo's answer to whether a run that was killed anywhere can be resumed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
from typing import Any

_LONG = {"run", "resume", "verify"}
"""Words of commands that work for a while: a playbook, a backup, a restoration, a drill."""


class Killer:
    """Kills ``number`` of the commands that it runs, each after a moment of chance. The same ``seed`` gives the same choice."""

    def __init__(self, number: int, seed: int) -> None:
        self.left = number
        self.kills = 0
        self._chance = random.Random(seed)

    def run(self, argv: list[str], **how: Any) -> subprocess.CompletedProcess[str]:
        """As ``subprocess.run``; one that was killed ended with -9."""
        how.pop("capture_output")
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how) as child:
            timer = threading.Timer(self._chance.uniform(0.4, 6.0), _kill, [child])
            if self.left and _LONG.intersection(argv) and self._chance.random() < 0.5:
                timer.start()
            said, errors = child.communicate()
            timer.cancel()
        if child.returncode == -signal.SIGKILL:
            self.left -= 1
            self.kills += 1
        return subprocess.CompletedProcess(argv, child.returncode, said, errors)


def _kill(child: subprocess.Popen[str]) -> None:
    if child.poll() is None:
        os.kill(child.pid, signal.SIGKILL)
