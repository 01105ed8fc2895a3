"""The proof by a command of the site's own: how it ends, and what it prints."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from opsctl.errors import ProgramFailed, Unreachable
from opsctl.model.quantities import format_duration
from opsctl.shells.interface import Shell
from opsctl.sources.interface import Difference

_LARGEST = 1 << 20


def prove(argv: Sequence[str], shell: Shell, *, expect: int, contains: str | None, limit: float) -> list[Difference]:
    """What is not as expected; a command that takes longer than ``limit`` seconds is ended."""
    said = bytearray()

    def take(line: bytes) -> None:
        if len(said) < _LARGEST:
            said.extend(line[:_LARGEST] + b"\n")

    name = argv[0]
    try:
        result = shell.run(argv, timeout=limit, accept=None, on_line=take)
    except Unreachable:
        return [Difference(name, f"an end within {format_duration(timedelta(seconds=limit))}", "it was still running")]
    except ProgramFailed as error:
        return [Difference(name, f"exit code {expect}", error.message)]
    found = []
    if result.code != expect:
        found.append(Difference(f"{name}, exit code", expect, f"{result.code}{_last(bytes(said), result.stderr)}"))
    if contains is not None and contains.encode() not in said:
        found.append(Difference(f"{name}, output", contains, f"{len(said):,} bytes without it{_last(bytes(said))}"))
    return found


def _last(*streams: bytes) -> str:
    """The last line that it said, of the last stream that has one."""
    lines = [line.strip() for stream in streams for line in stream.decode("utf-8", "replace").splitlines() if line.strip()]
    return f": {lines[-1][:200]}" if lines else ""
