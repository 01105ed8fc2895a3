"""Clean rooms: nothing gets out of them, and nothing outlives us in them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from opsctl.errors import ProgramFailed, SafetyRefusal
from opsctl.shells.clean_room import CleanRoomShell, refuse_a_way_out
from opsctl.shells.local import LocalShell
from tests.lab.namespaces import propagation
from tests.lab.places import open_folder
from tests.lab.waiting import until
from tests.machine import PACKAGE


@pytest.fixture
def room() -> Iterator[CleanRoomShell]:
    with open_folder() as place:
        (place / "a room; $HOME 'of' विवाह").mkdir()
        shell = CleanRoomShell(place / "a room; $HOME 'of' विवाह")
        yield shell
        shell.close()


def test_a_command_inside_is_alone(room: CleanRoomShell) -> None:
    (room.place / "files").mkdir()
    (room.place / "files" / "program").write_text("#!/bin/sh\necho it ran\n")
    (room.place / "files" / "program").chmod(0o755)
    assert "lo:" in room.run(["cat", "/proc/net/dev"]).text and room.run(["sh", "-c", "wc -l </proc/net/dev"]).text.strip() == "3"
    processes = room.run(["sh", "-c", "echo /proc/[0-9]*"]).text.split()
    assert len(processes) < 5 and f"/proc/{os.getpid()}" not in processes
    assert set(room.run(["ls", "/"]).text.split()) <= {
        "bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "root", "run", "sbin", "sys", "tmp", "usr", "var", "home", "opt", "srv",
        "work"}
    secret = room.place.with_name("secret")
    secret.write_text("of this machine")
    assert room.run(["cat", str(secret)], accept=None).code == 1
    assert room.run(["cat", "/etc/shadow"], accept=None).code == 1
    assert b"Read-only" in room.run(["touch", str(room.place / "files" / "program")], accept=None).stderr
    assert b"ermission denied" in room.run([str(room.place / "files" / "program")], accept=None).stderr
    assert room.run(["sh", "-c", "echo x >/proc/sys/kernel/core_pattern"], accept=None).code
    assert room.run(["mount", "-t", "tmpfs", "none", "/tmp"], accept=None).code, "no right to change what is seen"


def test_the_look_for_a_way_out_finds_one() -> None:
    """The same look, in a place that has every way out."""
    def ask(script: str, question: bytes) -> bytes:
        return LocalShell().run([sys.executable, "-I", "-S", "-c", script], stdin=question).stdout

    with open_folder() as place, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place / "database.sock"))
        listening.listen()
        with pytest.raises(SafetyRefusal, match="this machine has a way out") as refused:
            refuse_a_way_out(ask, "this machine")
    found = refused.value.details["ways_out"]
    assert "TCP to 127.0.0.1" in found
    assert f"the socket {place}/database.sock" in found


def test_a_socket_that_can_be_seen_inside_is_a_way_out() -> None:
    with open_folder() as place, open_folder() as shown, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(shown / "docker.sock"))
        listening.listen()
        room = CleanRoomShell(place, [str(shown)])
        with pytest.raises(SafetyRefusal, match=rf"way out: the socket {shown}/docker\.sock"):
            room.run(["true"])
        assert processes_with(str(place)) == []


@pytest.mark.as_root("mounts a file system")
def test_what_is_mounted_below_a_shown_path_cannot_be_changed_either(tmp_path: Path) -> None:
    with open_folder() as place:
        shown = place / "of an application"
        (shown / "mounted here").mkdir(parents=True)
        (place / "room").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(shown / "mounted here")], check=True, stdin=subprocess.DEVNULL)
        room = CleanRoomShell(place / "room", [str(shown)])
        try:
            (shown / "mounted here" / "kept").write_text("kept")
            assert room.run(["cat", str(shown / "mounted here" / "kept")]).text == "kept"
            for folder in (shown, shown / "mounted here"):
                assert b"Read-only" in room.run(["touch", str(folder / "new")], accept=None).stderr
        finally:
            room.close()
            subprocess.run(["umount", str(shown / "mounted here")], check=True, stdin=subprocess.DEVNULL)


def processes_with(word: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_everything_inside_ends_with_us() -> None:
    with open_folder() as place:
        script = (f"import time; from pathlib import Path; from opsctl.shells.clean_room import CleanRoomShell\n"
                  f"room = CleanRoomShell(Path({str(place)!r}))\n"
                  f"room.run(['sh', '-c', 'setsid sleep 987654 </dev/null >/dev/null 2>&1 & exit 0'])\n"
                  "print('there', flush=True); time.sleep(60)\n")
        ours = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(PACKAGE)})
        assert ours.stdout is not None and ours.stdout.readline() == b"there\n"
        assert processes_with("987654") != []
        ours.send_signal(signal.SIGKILL)
        ours.wait()
        ours.stdout.close()
        until(lambda: processes_with("987654") == [] and processes_with(f"{place} passwd") == [])


def test_what_a_command_said_and_how_it_ended(room: CleanRoomShell) -> None:
    assert room.run(["cat"], stdin=b"fed").stdout == b"fed"
    assert room.run(["sh", "-c", "pwd; echo $SECRET"], env={"SECRET": "told"}, cwd="/usr").text == "/usr\ntold\n"
    with pytest.raises(ProgramFailed, match=r"false in the clean room .* failed \(1\)"):
        room.run(["false"])
    with pytest.raises(ProgramFailed, match="no-such-program is not to be found in the clean room"):
        room.run(["no-such-program"])
    with room.open(["cat"]) as session:
        session.stdin.write(b"a word\n")
        session.stdin.flush()
        assert session.stdout.readline() == b"a word\n"


@pytest.mark.as_root("becomes an ordinary user")
def test_an_ordinary_user_has_one_as_well() -> None:
    script = ("import sys; from pathlib import Path; from opsctl.shells.clean_room import CleanRoomShell\n"
              "room = CleanRoomShell(Path(sys.argv[1]))\n"
              "print(room.run(['id', '-u']).text.strip(), room.run([*room.as_owner(), 'id', '-u']).text.strip())\n"
              "print(room.run(['sh', '-c', 'wc -l </proc/net/dev']).text.strip())\n")
    with open_folder() as place:
        shutil.copytree(PACKAGE / "opsctl", place / "package" / "opsctl", ignore=shutil.ignore_patterns("__pycache__"))
        (place / "room").mkdir()
        os.chown(place / "room", 65534, 65534)
        said = subprocess.run(["/usr/bin/python3", "-c", script, str(place / "room")], user=65534, group=65534, extra_groups=[], cwd="/",
                              env={"PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHONPATH": str(place / "package")}, capture_output=True, text=True)
        assert (said.stdout, said.stderr) == ("0 65534\n3\n", "")


JAIL = """
set -e
mount --make-rprivate / 2>/dev/null || :
for place in usr etc dev opsctl; do mkdir -p "$1/$place"; done
mkdir -p "$1/proc" "$1/tmp" "$1/var/tmp/room" "$1/run"
mount --rbind /usr "$1/usr"; mount --rbind /etc "$1/etc"; mount --rbind /dev "$1/dev"; mount --bind "$2" "$1/opsctl"
mount -t proc proc "$1/proc"
for link in bin sbin lib lib64; do if [ -L "/$link" ]; then ln -s "$(readlink "/$link")" "$1/$link"; fi; done
exec chroot "$1" env PYTHONPATH=/opsctl PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -c "$3"
"""


@pytest.mark.as_root("makes a chroot")
def test_in_a_chroot_there_is_one_without_the_right_to_leave_it(tmp_path: Path) -> None:
    """Its root is no mount point, which nothing can be pivoted away from."""
    script = ("from pathlib import Path; from opsctl.shells.clean_room import CleanRoomShell\n"
              "room = CleanRoomShell(Path('/var/tmp/room'))\n"
              "print(room.run(['sh', '-c', 'wc -l </proc/net/dev']).text.strip())\n"
              "print(room.run(['chroot', '/tmp', 'true'], accept=None).code, room.run(['ls', '/opsctl'], accept=None).code)\n")
    said = subprocess.run(["unshare", "--mount", "--propagation", propagation(), "--", "sh", "-c", JAIL, "jail", str(tmp_path), str(PACKAGE), script],
                          capture_output=True, text=True)
    assert (said.stdout, said.stderr) == ("3\n125 2\n", "")


@pytest.mark.as_root("gives up its rights")
def test_where_there_can_be_none_it_says_what_is_missing() -> None:
    script = ("import sys; from pathlib import Path; from opsctl.errors import OpsError; from opsctl.shells.clean_room import CleanRoomShell\n"
              "try:\n    CleanRoomShell(Path(sys.argv[1])).run(['true'])\n"
              "except OpsError as error:\n    print(error.code, error.message, error.hint)\n")
    with open_folder() as place:
        said = subprocess.run(["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-all", "--", sys.executable, "-c", script, str(place)],
                              env={**os.environ, "PYTHONPATH": str(PACKAGE)}, capture_output=True, text=True)
    assert said.stdout.startswith("23 no clean room can be made here") and "CAP_SYS_ADMIN" in said.stdout, said.stderr
