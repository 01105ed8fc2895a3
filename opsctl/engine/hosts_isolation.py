"""Can a host be cut off, or cut others off: the login for isolation, root, nft and what goes with it."""

from __future__ import annotations

import re
from collections.abc import Callable

from opsctl.errors import ProgramFailed, Refused, Unreachable
from opsctl.model.hosts_access import Entered
from opsctl.programs import parse_version, show
from opsctl.shells.interface import Shell

LEAST_NFT = (0, 9, 7)
_SECONDS = 30.0
_NEEDED = ("nft", "ss", "ip", "lsns", "nsenter")

# As root. The words are programs that have to be there. Nothing is changed.
_LOOK = """
PATH=$PATH:/usr/sbin:/sbin
for one; do command -v "$one" >/dev/null || echo "missing $one"; done
[ "$SSH_CONNECTION" ] || echo "nowhere"
if command -v nft >/dev/null; then
    echo "nft $(nft --version 2>/dev/null)"
    said=$(nft list tables 2>&1 >/dev/null) || echo "refused $said"
fi
"""
_FIND = 'for one; do command -v "$one" >/dev/null || echo "missing $one"; done'


def look(shell_of: Callable[[], Shell], wanted: Entered) -> tuple[bool, str, str]:
    """Whether all is there, what was seen, in one line, and what to do about it. Raises Interrupted and nothing else on purpose.

    ``shell_of`` makes a shell that logs in with the key for isolation.
    """
    try:
        shell = shell_of()
        said = _asked(shell, wanted)
    except (Refused, Unreachable, ProgramFailed) as error:
        return False, error.message, error.hint or ""
    if wrong := [*_wrong(said)]:
        return False, "; ".join(wrong), ("it takes root, by become: sudo or user: root; `opsctl hosts prepare` prints the sudoers lines; "
                                         "packages: nftables iproute2 util-linux conntrack")
    version = next((line.removeprefix("nft ") for line in said if line.startswith("nft ")), "")
    return True, f"logs in; nft {show(parse_version(version))}" if version else "logs in", ""


def _asked(shell: Shell, wanted: Entered) -> list[str]:
    lines: list[str] = []
    if wanted.nft:
        needed = [*_NEEDED, *(["conntrack"] if wanted.tracks else [])]
        lines += shell.run(["sh", "-c", _LOOK, "sh", *needed], timeout=_SECONDS, accept=None).text.splitlines()
    plain: Shell = shell.plain() if hasattr(shell, "plain") else shell
    if wanted.programs or not wanted.nft:
        lines += plain.run(["sh", "-c", _FIND, "sh", *wanted.programs], timeout=_SECONDS, accept=None).text.splitlines()
    return lines


def _wrong(said: list[str]) -> list[str]:
    wrong = []
    if missing := [line.removeprefix("missing ") for line in said if line.startswith("missing ")]:
        wrong.append(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not there")
    if "nowhere" in said:
        wrong.append("sudo keeps SSH_CONNECTION from us, so that its rules would shut this machine out")
    for line in said:
        if line.startswith("nft ") and parse_version(line) < LEAST_NFT:
            wrong.append(f"nft {show(parse_version(line))} is too old: {show(LEAST_NFT)} or newer is needed")
        if line.startswith("refused "):
            wrong.append(f"nft refuses to list its tables: {re.sub(r'[^ -~]', ' ', line.removeprefix('refused '))[:200]}")
    return wrong
