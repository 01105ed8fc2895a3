"""The rules that cut a host off, as text for ``nft -f``: two tables in one transaction.

``inet`` stands before connection tracking and sees every interface, also one that is plugged in later. ``netdev`` stands on
every physical port and sees what ``inet`` cannot: children of an interface (macvlan), raw frames, DHCP. Both let through by
addresses alone, never by the state of a connection. Each jumps to its rules only while an element of the set ``armed`` is
there; elements with a time-out are the dead man's handle, which the kernel itself pulls.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from opsctl.model.isolation import Facts, Mark, Opening, Order

TABLE = "opsctl_iso"
FAMILIES = ("inet", "netdev")
_ARMED = {"inet": ("nf_proto", ("ipv4", "ipv6")), "netdev": ("ether_type", ("ip", "ip6", "vlan", "8021ad"))}
