"""Frames made by hand and sent past a host's own stack, as root there can: UDP, DHCP, ARP, VLAN tags."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

from tests.lab.isolation import Lab


def frames(lab: Lab, sender: str, receiver: str, ports: dict[str, tuple[int, int]]) -> set[str]:
    """Which of these UDP frames, made by hand and sent past the host's own stack, come to the other; ``arp`` beside them.

    They are read there from UDP sockets, since a packet socket sees them before the rules that drop them.
    """
    found = set()
    with lab.within(sender):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with lab.within(receiver):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
        heard = {name: socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for name in ports}
    source, to = lab.hosts[sender].address, lab.hosts[receiver].address
    with raw, wire:
        raw.bind(("eth0", 0))
        own = raw.getsockname()[4]
        wire.bind(("eth0", 0x0806))
        for name, (_, port) in ports.items():
            heard[name].bind(("", port))
        for from_port, port in ports.values():
            datagram = struct.pack("!HHHH", from_port, port, 9, 0) + b"x"
            packet = ip_packet(source, to, 17, datagram)
            with suppress(OSError):  # a drop on the way out is told to who sends past the stack
                raw.send(b"\xff" * 6 + own + b"\x08\x00" + packet)
        raw.send(b"\xff" * 6 + own + b"\x08\x06" + struct.pack(
            "!HHBBH6s4s6s4s", 1, 0x800, 6, 4, 1, own, socket.inet_aton(source), b"\0" * 6, socket.inet_aton(to)))
        wire.settimeout(2)
        while wire.recv(100)[6:12] != own:
            pass
        found.add("arp")  # it was sent last, so that the others are there as well
        for name, end in heard.items():
            with end:
                end.settimeout(0.2)
                try:
                    found |= {name} if end.recv(10) == b"x" else set()
                except TimeoutError:
                    continue
    return found


def ip_packet(source: str, to: str, protocol: int, payload: bytes) -> bytes:
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0, socket.inet_aton(source), socket.inet_aton(to))
    return head[:10] + struct.pack("!H", _checksum(head)) + head[12:] + payload


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def send_tagged(lab: Lab, source: str) -> None:
    """A call to port 22 of h0 that comes from this address with a VLAN tag."""
    with lab.within("outside"):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    segment = struct.pack("!HHIIBBHHH", 40000, 22, 1, 0, 5 << 4, 2, 1000, 0, 0)
    packet = ip_packet(source, lab.hosts["h0"].address, 6, segment)
    with raw:
        raw.bind(("eth0", 0))
        raw.send(b"\xff" * 6 + raw.getsockname()[4] + b"\x81\x00\x00\x05\x08\x00" + packet)
