"""Which sockets of a host are old connections."""

from __future__ import annotations

from opsctl.model.connections import others, space, survivors

SOCKETS = """\
tcp   LISTEN   0 128  0.0.0.0:22      0.0.0.0:*
tcp   ESTAB    0 0    10.0.0.11:22    10.0.0.2:50000
tcp   ESTAB    0 0    10.0.0.11:8000  10.0.0.3:50001
tcp   SYN-SENT 0 1    10.0.0.11:40000 10.0.0.9:443
tcp   SYN-RECV 0 0    10.0.0.11:22    10.0.0.3:50002
tcp   ESTAB    0 0    127.0.0.1:40001 127.0.0.1:5432
udp   ESTAB    0 0    10.0.0.11:40002 10.0.0.9:53
udp   UNCONN   0 0    0.0.0.0:68      0.0.0.0:*
"""


def test_calls_that_are_tried_again_and_again_are_no_old_connections() -> None:
    found = others(space("2: eth0 inet 10.0.0.11/24 scope global eth0", SOCKETS), (), "full")
    assert [(one.port, one.peer_port) for one in found] == [(22, 50000), (8000, 50001), (22, 50002)]


def test_of_udp_only_what_outlived_being_ended_is_one() -> None:
    now = space("", SOCKETS)
    assert [one.port for one in survivors("udp ESTAB 0 0 10.0.0.11:40002 10.0.0.9:53", now)] == [40002]
    assert survivors("udp ESTAB 0 0 10.0.0.11:39999 10.0.0.9:53\ntcp ESTAB 0 0 10.0.0.11:8000 10.0.0.3:50001", now) == []
