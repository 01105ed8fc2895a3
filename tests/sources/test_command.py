"""Any program as a source: what it writes is stored whole, or nothing is; and what is left of it is gone."""

from __future__ import annotations

import hashlib
import os
import pwd
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opsctl.errors import Busy, OpsError, ProgramFailed, SafetyRefusal, Unreachable, UsageError
from opsctl.model.limits import Limits, waits
from opsctl.model.secrets import SecretRef
from opsctl.proofs import content, shows
from opsctl.repositories.patience import patiently
from opsctl.repositories.restic import Restic
from opsctl.shells.local import LocalShell
from opsctl.sources import outside
from opsctl.sources.command import Command
from opsctl.sources.spool import Spool
from tests.sources.conftest import MakeContext, entry, restored
from tests.sources.databases import until

Program = Callable[[str], str]

SECRET = "s3cret of the tests"


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Makes a program of a shell script; its path."""

    def make(script: str) -> str:
        path = tmp_path / f"program-{hashlib.sha256(script.encode()).hexdigest()[:8]}"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    return make


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    (tmp_path / "spool").mkdir(mode=0o755)
    return Spool("hana", str(tmp_path / "spool"))


@pytest.fixture
def secret(tmp_path: Path) -> SecretRef:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o600)
    return SecretRef("password of source hana", file=str(file))


def source(*argv: str, **more: Any) -> Command:
    return Command("hana", argv=argv, **{"shell": LocalShell(), **more})


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def left_in(spool: Spool) -> list[str]:
    return [name for name in os.listdir(spool.directory) if not name.endswith(".lock")]


def test_standard_output_is_stored_and_proven_by_its_bytes(
    repository: Restic, context: MakeContext, program: Program, secret: SecretRef, tmp_path: Path
) -> None:
    dump = program('[ -z "$RESTIC_PASSWORD" ] || exit 9; echo "$PLACE and $RESTIC_SECRET"; echo "-- end"')
    one = source(dump, "x", environment={"PLACE": "here"}, password=secret, variable="RESTIC_SECRET", trailer="-- end",
                 at_least={"bytes": 10})
    assert one.check(None) == []
    captured = one.capture(context())
    written = f"here and {SECRET}\n-- end\n".encode()
    assert captured.proof == {"kind": "content", "algorithm": "sha256", "files": 1, "bytes": len(written),
                              "sha256": hashlib.sha256(written).hexdigest()}
    assert "bytes proven, rows not" in shows(captured.proof)
    back = restored(repository, captured, tmp_path / "back")
    assert (back / "hana.dump").read_bytes() == written
    assert one.restored_files(entry(captured), back) == []
    (back / "hana.dump").write_bytes(written.replace(b"here", b"Here"))
    assert [str(found).split(":")[0] for found in one.restored_files(entry(captured), back)] == ["SHA-256"]
    (back / "hana.dump").unlink()
    assert [found.found for found in one.restored_files(entry(captured), back)] == ["missing"]


@pytest.mark.parametrize(
    ("script", "more", "says"),
    [
        ("echo half; echo why >&2; exit 7", {}, "failed (7): why"),
        (":", {}, "wrote nothing"),
        ("echo half", {"trailer": "-- end"}, "stopped before its end"),
        ("echo half", {"at_least": {"bytes": 100}}, "wrote only 5 bytes"),
        ("echo half; kill -9 $$", {}, "was ended by SIGKILL"),
    ],
)
def test_a_stream_that_is_not_whole_leaves_nothing(
    repository: Restic, context: MakeContext, program: Program, script: str, more: dict[str, Any], says: str
) -> None:
    with pytest.raises(ProgramFailed) as failed:
        source(program(script), **more).capture(context())
    assert says in failed.value.message and "program-" in failed.value.message
    assert repository.snapshots() == []


def test_a_stream_that_hangs_is_ended_with_its_children(
    repository: Restic, context: MakeContext, program: Program, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    hangs = program(f"sleep 300 & echo $! $$ >{pids}; trap '' TERM; echo half; wait; wait; sleep 300")
    with pytest.raises(ProgramFailed, match="did not finish within 1 seconds"):
        source(hangs, limit=1).capture(context())
    for pid in pids.read_text().split():
        until(lambda pid=pid: gone(int(pid)), "the end of a child")  # type: ignore[misc]
    assert repository.snapshots() == []


@pytest.mark.parametrize("spooled", [False, True])
def test_a_secret_that_the_program_prints_is_quoted_nowhere(
    context: MakeContext, program: Program, secret: SecretRef, spool: Spool, spooled: bool
) -> None:
    tells = program('echo "bad login: $DB_SECRET" >&2; exit 3')
    one = source(tells, password=secret, variable="DB_SECRET", spool=spool if spooled else None)
    with pytest.raises(ProgramFailed) as failed:
        one.capture(context())
    told = str(failed.value.as_dict())
    assert "bad login: ********" in told and SECRET not in told


def test_a_program_that_is_not_there_is_found_before_anything_starts(context: MakeContext, tmp_path: Path) -> None:
    assert "is not installed" in source("no-such-dump").check(None)[0].message
    with pytest.raises(ProgramFailed, match="is not installed"):
        source("no-such-dump").capture(context())
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "dump-of-ours").write_text("#!/bin/sh\necho x\n")
    (tmp_path / "own" / "dump-of-ours").chmod(0o755)
    assert source("dump-of-ours", environment={"PATH": f"{tmp_path}/own:/usr/bin:/bin"}).check(None) == []


def test_files_in_a_spool_are_stored_with_a_digest_each_and_the_spool_is_gone(
    repository: Restic, context: MakeContext, program: Program, spool: Spool, tmp_path: Path
) -> None:
    script = f'stat -c %a "$1" >{tmp_path}/mode; mkdir "$1/log"; printf one >"$1/a.dmp"; printf two >"$1/log/b"; : >"$1/none"'
    one = source(program(script), "${spool}", spool=spool)
    captured = one.capture(context(limits=Limits(nice=5)))
    assert (tmp_path / "mode").read_text() == "700\n"
    assert left_in(spool) == []
    assert captured.paths == (str(spool.place),) and captured.proof["bytes"] == 6
    digest = hashlib.sha256(b"two").hexdigest()
    assert captured.proof["listed"]["log/b"] == [3, digest] and captured.files == 3
    back = restored(repository, captured, tmp_path / "back")
    assert one.restored_files(entry(captured), back) == []
    (Path(f"{back}{spool.place}") / "log" / "b").write_text("TWO")
    (Path(f"{back}{spool.place}") / "none").unlink()
    named = {found.where for found in one.restored_files(entry(captured), back)}
    assert {"log/b, bytes and SHA-256", "none", "files", "SHA-256"} == named


@pytest.mark.parametrize(
    ("script", "more", "says"),
    [
        ('echo half >"$1/a"; echo broken; exit 5', {}, "failed (5): broken"),
        (":", {}, "wrote nothing into"),
        (': >"$1/empty"', {}, "wrote nothing into"),
        ('echo x >"$1/a"', {"at_least": {"files": 2}}, "wrote only 1 files"),
        ('echo x >"$1/a"', {"at_least": {"bytes": 100}}, "wrote only 2 bytes"),
        ('echo x >"$1/a"; ln -s /etc/passwd "$1/b"', {}, "left b in its spool"),
        ('echo x >"$1/a"; exec sleep 300', {"limit": 1}, "did not finish within 1s"),
    ],
)
def test_a_spool_that_is_no_dump_is_not_stored_and_gone(
    repository: Restic, context: MakeContext, program: Program, spool: Spool, script: str, more: dict[str, Any], says: str
) -> None:
    with pytest.raises(ProgramFailed) as failed:
        source(program(script), "${spool}", spool=spool, **more).capture(context())
    assert says in failed.value.message
    assert left_in(spool) == [] and repository.snapshots() == []


def test_what_changes_while_it_is_stored_is_no_dump(
    repository: Restic, context: MakeContext, program: Program, spool: Spool
) -> None:
    """A program that left its group, as servers do, still writes when the dump claims to be over."""
    pid = spool.directory / "pid"
    writer = spool.directory.parent / "writer.py"
    writer.write_text(
        "import os, sys, time\n"
        "os.setsid()\n"
        "open(sys.argv[1] + '.new', 'w').write(str(os.getpid()))\n"
        "os.rename(sys.argv[1] + '.new', sys.argv[1])\n"
        "while True:\n"
        "    open(sys.argv[2], 'ab').write(b'x')\n"
        "    time.sleep(0.002)\n"
    )
    starts = f'echo x >"$1/a"; python3 {writer} {pid} "$1/a" >/dev/null 2>&1 & while [ ! -e {pid} ]; do sleep 0.02; done'
    try:
        with pytest.raises(ProgramFailed) as failed:
            source(program(starts), "${spool}", spool=spool).capture(context())
    finally:
        os.kill(int(pid.read_text()), signal.SIGKILL)
    assert "changed while it was stored" in failed.value.message or "could not be removed" in failed.value.message


def test_a_spool_is_refused_where_it_is_unsafe_or_too_small(spool: Spool, tmp_path: Path) -> None:
    with pytest.raises(ProgramFailed, match="free and the dump needs") as small, spool.made(1 << 60):
        pass
    assert small.value.details["needed"] > 1 << 60
    assert source("true", spool=spool, spool_free=1 << 60).check(None)[0].code == 20
    assert source("true", spool=spool).check({"bytes": 1 << 60})[0].code == 20
    spool.directory.chmod(0o777)
    with pytest.raises(ProgramFailed, match="others can write"), spool.made(0):
        pass
    spool.directory.chmod(0o755)
    spool.place.symlink_to(tmp_path)
    with pytest.raises(SafetyRefusal, match="did not make it"), spool.made(0):
        pass
    assert spool.place.is_symlink() and tmp_path.is_dir()
    with pytest.raises(ProgramFailed, match="there is no user"), Spool("x", str(tmp_path), "no-such-user").made(0):
        pass
    with pytest.raises(ProgramFailed, match="cannot be used"), Spool("x", str(tmp_path / "nowhere")).made(0):
        pass


def test_a_spool_is_one_run_s_at_a_time_and_a_killed_one_s_leftovers_go(spool: Spool) -> None:
    spool.place.mkdir()
    (spool.place / "left by a kill").write_text("half")
    with spool.made(0) as place:
        assert list(place.iterdir()) == []
        with pytest.raises(Busy), spool.made(0):
            pass
        assert place.is_dir()
    assert left_in(spool) == []


def test_a_spool_belongs_to_the_server_s_user(spool: Spool, program: Program, context: MakeContext) -> None:
    if os.geteuid():
        owned = Spool("hana", str(spool.directory), pwd.getpwuid(0).pw_name)
        with pytest.raises(ProgramFailed, match="only root"), owned.made(0):
            pass
        return
    nobody = pwd.getpwnam("nobody")
    spool.directory.parent.chmod(0o711)
    owned = Spool("hana", str(spool.directory), "nobody")
    with owned.made(0) as place:
        assert (place.stat().st_uid, place.stat().st_mode & 0o777) == (nobody.pw_uid, 0o700)
    assert left_in(spool) == []


def test_only_regular_files_are_read_for_a_proof(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc/passwd")
    for name in ("pipe", "link"):
        with pytest.raises(OSError, match=r"no regular file|symbolic links"):
            content.of_file(tmp_path / name)
    assert content.of_folder(tmp_path) == {}


def test_a_stream_is_fed_to_its_restore_program(
    repository: Restic, context: MakeContext, program: Program, secret: SecretRef, tmp_path: Path
) -> None:
    takes = program(f'[ "$DB_SECRET" ] || exit 9; cat >"{tmp_path}/$1"')
    one = source("seq", "300000", restore=(takes, "new-${target}"), password=secret, variable="DB_SECRET")
    captured = one.capture(context())
    back = restored(repository, captured, tmp_path / "back")
    assert one.bring_back(entry(captured), back, "portal") == []
    assert (tmp_path / "new-portal").read_bytes() == (back / "hana.dump").read_bytes()

    def fails(script: str, **more: Any) -> OpsError:
        with pytest.raises(OpsError) as failed:
            source("seq", restore=(program(script), "${target}"), **more).bring_back(entry(captured), back, "x")
        return failed.value

    assert "failed (4): no room" in fails("head -c 10 >/dev/null; echo no room; exit 4").message
    assert "bytes without an error" in fails("head -c 10 >/dev/null").message
    assert "did not finish within 1s" in fails("sleep 300", limit=1).message
    assert "did not finish within 1s" in fails("cat >/dev/null; sleep 300", limit=1).message
    assert isinstance(fails_without(one, entry(captured), back), UsageError)
    (back / "hana.dump").write_bytes(b"other")
    assert {found.where for found in one.bring_back(entry(captured), back, "other")} == {"bytes", "SHA-256"}


def fails_without(one: Command, kept: dict[str, Any], back: Path) -> OpsError:
    with pytest.raises(OpsError) as failed:
        source(*one.argv).bring_back(kept, back, "x")
    return failed.value


def test_a_spool_is_filled_again_for_its_restore_program(
    repository: Restic, context: MakeContext, program: Program, spool: Spool, tmp_path: Path
) -> None:
    dumps = program('mkdir "$1/log"; printf one >"$1/a b"; printf two >"$1/log/c"')
    takes = program(f'stat -c %a "$1" >"{tmp_path}/mode"; cp -r "$1" "{tmp_path}/$2"')
    one = source(dumps, "${spool}", spool=spool, restore=(takes, "${spool}", "${target}"))
    captured = one.capture(context())
    back = restored(repository, captured, tmp_path / "back")
    assert one.bring_back(entry(captured), back, "new") == []
    assert (tmp_path / "new" / "a b").read_text() + (tmp_path / "new" / "log" / "c").read_text() == "onetwo"
    assert (tmp_path / "mode").read_text() == "700\n" and left_in(spool) == []
    Path(f"{back}{spool.place}/a b").write_text("ONE")
    assert one.bring_back(entry(captured), back, "never")
    assert not (tmp_path / "never").exists(), "a dump that is not what was backed up is fed to nothing"
    assert left_in(spool) == []


def test_the_last_lines_of_a_talkative_program_are_kept_and_harmless(program: Program) -> None:
    talks = program("seq 100000; printf '\\033[31mred\\033[0m\\n'; echo to the errors >&2")
    told = outside.run(LocalShell(), [talks], what="talks", limit=60)
    assert len(told.said) == 20 and told.said[-1] == "to the errors"
    assert "\x1b" not in "".join(told.said) and "red" in told.said[-2]


def test_limits_reach_restic_and_the_dump_below_it(repository: Restic, context: MakeContext, tmp_path: Path) -> None:
    limits = Limits(bandwidth=100 << 20, nice=7, ionice="idle")
    script = f'echo "$(nice) $(ionice -p $$)" >{tmp_path}/seen; tr "\\0" " " <"/proc/$(ps -o ppid= $PPID | tr -d " ")/cmdline"'
    made = source("/bin/sh", "-c", script).capture(context(repository=repository.limited(limits)))
    seen = (tmp_path / "seen").read_text()
    assert seen.startswith("7 ") and "idle" in seen
    assert b"--limit-upload 102400" in repository.read(made.snapshot, "/hana.dump")
    assert repository.limited(Limits()) is repository


def test_only_a_store_that_does_not_answer_is_tried_again() -> None:
    assert list(waits(6)) == [10, 30, 90, 270, 300, 300] and list(waits(0)) == []
    said: list[str] = []
    answers: list[object] = [Unreachable("no answer"), Unreachable("no answer"), "there"]

    def ask() -> object:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    assert patiently(ask, (0.01, 0.02, 0.03), shell=LocalShell(), say=said.append) == "there"
    assert len(said) == 2 and "(2 of 3)" in said[1]
    answers[:] = [Unreachable("one"), Unreachable("two"), "never reached"]
    with pytest.raises(Unreachable, match="two"):
        patiently(ask, (0.01,), shell=LocalShell(), say=said.append)
    answers[:] = [ProgramFailed("said no"), "never reached"]
    with pytest.raises(ProgramFailed):
        patiently(ask, (0.01,), shell=LocalShell(), say=said.append)


def test_waiting_for_a_store_ends_when_we_are_stopped() -> None:
    from opsctl.errors import Interrupted
    from opsctl.shells import local

    def ask() -> None:
        threading.Timer(0.05, local.stop).start()
        raise Unreachable("no answer")

    try:
        with pytest.raises(Interrupted):
            patiently(ask, (600,), shell=LocalShell(), say=lambda _: None)
    finally:
        local.reset()
