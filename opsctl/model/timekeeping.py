"""Which time servers a machine's clock follows, as chrony, systemd-timesyncd and their files say."""

from __future__ import annotations

import re
from collections.abc import Mapping

from opsctl.model.values import value

SCRIPT = """
chronyc -c -N sources 2>/dev/null | sed 's/^/chrony /'
timedatectl show-timesync --property=ServerName --value 2>/dev/null | sed 's/^/timesyncd /'
for file in /etc/chrony/chrony.conf /etc/chrony.conf /etc/chrony/conf.d/*.conf /etc/chrony/sources.d/*.sources; do
  [ -r "$file" ] && sed 's/^/chrony-file /' "$file"
done
for file in /etc/systemd/timesyncd.conf /etc/systemd/timesyncd.conf.d/*.conf; do
  [ -r "$file" ] && sed 's/^/timesyncd-file /' "$file"
done
exit 0
"""
"""For any POSIX shell; it only reads."""


@value
class Kept:
    """``follows``: the server that the clock is set by now, None where none is; ``named``: those that the files name."""

    follows: str | None
    named: tuple[str, ...]


def parse(text: str) -> Kept:
    """What ``SCRIPT`` printed."""
    follows = None
    named: list[str] = []
    for line in text.splitlines():
        kind, _, said = line.partition(" ")
        if kind == "chrony":
            fields = said.split(",")
            if len(fields) > 2 and fields[0] in "^=" and fields[1] == "*":
                follows = fields[2]
        elif kind == "timesyncd" and said.strip() and follows is None:
            follows = said.strip()
        elif kind == "chrony-file" and (found := re.match(r"\s*(?:server|pool|peer)\s+(\S+)", said)):
            named.append(found[1])
        elif kind == "timesyncd-file" and (found := re.match(r"\s*NTP\s*=\s*(.+)", said)):
            named += found[1].split()
    return Kept(follows, tuple(dict.fromkeys(named)))


def judge(kept: Kept, known: Mapping[str, str]) -> tuple[bool, str]:
    """Whether it follows a server of NIC or NPL (``known``: operator by name), and what was seen."""
    if kept.follows is not None and (operator := known.get(kept.follows.lower().rstrip("."))):
        return True, f"follows {kept.follows} ({operator})"
    if kept.follows is not None:
        return False, f"follows {kept.follows}, which is none of NIC's or NPL's"
    ours = [one for one in kept.named if one.lower().rstrip(".") in known]
    if ours:
        return False, f"is to follow {ours[0]}, and follows none now"
    return False, f"is to follow {kept.named[0]}, and follows none now" if kept.named else "is kept by neither chrony nor systemd-timesyncd"
