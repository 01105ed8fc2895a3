"""``doctor``, with each thing that it looks at really broken, and nothing changed by looking."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opsctl.cli import doctor_clock, doctor_examine, doctor_jobs
from opsctl.cli.doctor import OK, WRONG, Check
from opsctl.cli.doctor_jobs import Job
from opsctl.errors import Interrupted, Refused
from opsctl.shells import sntp
from tests.badluck.faults import fill, small_disk
from tests.lab.places import open_folder
from tests.lab.restserver import RestServer
from tests.lab.s3server import Bucket, S3Server
from tests.lab.timeserver import TimeServer
from tests.machine import PACKAGE, Machine

as_root = pytest.mark.as_root("files of other accounts and file systems need root")
Rows = dict[str, dict[str, Any]]


def rows(machine: Machine, *words: str, expect: int | None = 3) -> Rows:
    """The rows of doctor by name; the first of a name, and what is wrong before what is not."""
    found = machine.json("doctor", *words, expect=expect).result["checks"]
    assert all({"name", "state", "ok", "detail", "hint"} == set(one) for one in found)
    assert all(one["ok"] is (one["state"] != "wrong") for one in found)
    assert all(one["hint"] for one in found if one["state"] in ("wrong", "warning")), found
    return {one["name"]: one for one in sorted(found, key=lambda one: one["ok"], reverse=True)}


def wrong(machine: Machine, name: str, *words: str) -> str:
    """What doctor says of something that is wrong, and what to do."""
    row = rows(machine, *words)[name]
    assert row["state"] == "wrong" and row["hint"], row
    return f"{row['detail']} → {row['hint']}"


def everything(root: Path) -> dict[str, tuple[int, int, int]]:
    """Every file and folder with its mode, size and time of change."""
    found = {}
    for place, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = os.path.join(place, name)
            now = os.lstat(path)
            found[path] = (now.st_mode, now.st_size, now.st_mtime_ns)
    return found


# What holds for all of it


def test_a_machine_that_is_as_it_has_to_be_is_0_and_nothing_is_changed(machine: Machine) -> None:
    (machine.data / "bill").write_text("12.50")
    machine("backup", "run", expect=0)
    text = (machine.etc / "opsctl.yaml").read_text()
    machine.configure(text[:text.index("backups:")])  # nothing to schedule, nobody to tell
    before = everything(machine.root)
    found = rows(machine, expect=0)
    assert everything(machine.root) == before
    assert {name for name, row in found.items() if row["state"] == "ok"} >= {
        "python", "restic", "state", "signing key", "secrets", "repository main", "space of main", "source files"}
    assert "as pinned" in found["repository main"]["detail"]
    said = machine("doctor", expect=0)
    assert re.search(r"^repository main +ok ", said.out, re.MULTILINE) and re.search(r"^\d+ ok", said.out.splitlines()[-1])


def test_of_what_is_not_there_yet_nothing_is_made(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "m")
    machine.configure()
    before = everything(machine.root)
    found = rows(machine)
    assert everything(machine.root) == before
    assert found["repository main"]["state"] == "warning" and "backup init main" in found["repository main"]["hint"]
    assert found["signing key"]["state"] == "wrong" and "ssh-keygen -q" in found["signing key"]["hint"]
    assert found["backup portal"]["state"] == "warning" and "backup run portal" in found["backup portal"]["hint"]


def test_what_can_be_judged_is_shown_with_a_configuration_that_cannot_be_read(machine: Machine) -> None:
    (machine.etc / "keys" / "repository-password").chmod(0o644)
    (machine.etc / "keys" / "controller").chmod(0o640)
    with (machine.etc / "opsctl.yaml").open("a") as file:
        file.write("colour: red\n")
    said = machine.json("doctor", expect=10)
    assert "colour" in said.errors[0]["details"]["problems"][0]
    found = {one["name"]: one for one in said.result["checks"]}
    assert found["restic"]["ok"] and "clock" in found
    assert "mode 0640" in found["signing key"]["detail"] and "mode 0644" in found["secret"]["detail"]


def test_offline_nothing_beyond_this_machine_is_asked(machine: Machine) -> None:
    (machine.data / "bill").write_text("12.50")
    with socket.create_server(("127.0.0.1", 0)) as door, TimeServer() as server:
        port = door.getsockname()[1]
        text = (machine.etc / "opsctl.yaml").read_text()
        machine.configure(f"""
organisation: {{name: Nagar, ntp: ["{server.address}"]}}
hosts:
  h: {{address: 127.0.0.1, port: {port}, host_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFC8FwO9w21IUTb6CvHpr+LdR2pF4Ouw9uTQ0OWSvQ01}}
{text}""".replace("sources:\n", f"""  far: {{url: "rest:http://127.0.0.1:{port}/x", password_file: {machine.etc}/keys/repository-password}}
sources:
  db: {{kind: postgresql, database: x, server: db.invalid}}
""", 1))
        found = rows(machine, "--offline")
        asked = {name for name, row in found.items() if row["state"] == "not checked"}
        assert asked == {"repository far", "source db", "host h", "clock"}
        assert found["repository main"]["ok"] and found["source files"]["ok"]
        door.settimeout(0)
        with pytest.raises(BlockingIOError):
            door.accept()
        assert server.asked == 0


def test_what_does_not_answer_costs_its_limit_and_holds_nothing_else_up(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_examine, "STORE", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as door:  # takes connections and says nothing
        text = (machine.etc / "opsctl.yaml").read_text()
        far = f'  far: {{url: "rest:http://127.0.0.1:{door.getsockname()[1]}/x", password_file: {machine.etc}/keys/repository-password}}\n'
        machine.configure(text.replace("sources:\n", f"{far}sources:\n", 1))
        found = rows(machine)
    assert found["repository far"]["detail"] == "no answer within 1 s" and found["repository far"]["hint"]
    assert found["repository main"]["ok"]


def test_an_interruption_and_a_bug_are_no_rows() -> None:
    def refused() -> list[Check]:
        raise Refused("no", hint="do")

    def interrupted() -> list[Check]:
        raise Interrupted()

    jobs = [Job("a", refused, 9), Job("b", lambda: [Check("b", OK, "x")], 9)]
    assert doctor_jobs.look(jobs, offline=False, ended=lambda: None) == [[Check("a", WRONG, "no", "do")], [Check("b", OK, "x")]]
    with pytest.raises(Interrupted):
        doctor_jobs.look([*jobs, Job("c", interrupted, 9)], offline=False, ended=lambda: None)
    with pytest.raises(ZeroDivisionError):
        doctor_jobs.look([Job("d", lambda: [1 // 0], 9)], offline=False, ended=lambda: None)  # type: ignore[list-item]


@as_root
def test_an_ordinary_user_is_warned_that_owners_would_be_lost(tmp_path: Path) -> None:
    home = tmp_path / "home"
    machine = Machine(home)
    machine.make_key()
    machine.configure()
    for path in (home, *home.rglob("*")):
        shutil.chown(path, "nobody")
    # The program and this folder may lie where only root may go.
    may = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    done = subprocess.run(
        ["setpriv", "--reuid", str(home.stat().st_uid), "--regid", "65534", "--clear-groups", *may, sys.executable, "-P", "-m",
         "opsctl", "--config", str(machine.etc), "doctor"],
        env={**os.environ, **machine.environ, "PYTHONPATH": str(PACKAGE)}, cwd="/", capture_output=True, text=True,
        stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 3, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("user"))
    assert "warning" in line and "owners of restored files would be lost" in line and "as root" in line


# Keys and secrets


def test_a_signing_key_that_others_can_read_is_gone_or_is_not_the_one_of_its_public_half(machine: Machine) -> None:
    key = machine.etc / "keys" / "controller"
    key.chmod(0o644)
    assert f"chmod 600 {key}" in wrong(machine, "signing key")
    key.chmod(0o600)
    (machine.etc / "keys").chmod(0o755)
    assert f"chmod 700 {machine.etc}/keys" in wrong(machine, "keys")
    (machine.etc / "keys").chmod(0o700)
    public = key.with_name("controller.pub").read_text()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(machine.root / "other")], check=True)
    key.with_name("controller.pub").write_text((machine.root / "other.pub").read_text())
    assert "is the other half of another key" in wrong(machine, "signing key")
    key.with_name("controller.pub").write_text(public)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "a phrase", "-f", str(key)], check=True, stdout=subprocess.DEVNULL)
    assert "passphrase" in wrong(machine, "signing key")
    key.unlink()
    assert "there is no signing key" in wrong(machine, "signing key")


@pytest.mark.parametrize(("harm", "words"), [
    ("chmod 644", "can be read by others (mode 0644) → chmod 600"),
    ("empty", "is empty → "),
    ("gone", "cannot be read: No such file"),
    ("folder", "everybody can replace it: "),
    pytest.param("owner", "belongs to nobody, who can change it → chown root", marks=as_root),
])
def test_a_secret_that_is_not_whole_or_not_ours_alone(machine: Machine, harm: str, words: str) -> None:
    secret = machine.etc / "keys" / "repository-password"
    if harm == "chmod 644":
        secret.chmod(0o644)
    elif harm == "empty":
        secret.write_text("\n")
    elif harm == "gone":
        secret.unlink()
    elif harm == "owner":
        shutil.chown(secret, "nobody")
    else:
        (machine.root / "open").mkdir()
        moved = Path(shutil.copy2(secret, machine.root / "open"))
        (machine.root / "open").chmod(0o777)
        machine.configure((machine.etc / "opsctl.yaml").read_text().replace(str(secret), str(moved)))
    assert words in wrong(machine, "secret")


def test_the_command_of_a_secret_fails_or_a_variable_is_not_set(machine: Machine) -> None:
    text = (machine.etc / "opsctl.yaml").read_text()
    file = f"password_file: {machine.etc}/keys/repository-password"
    machine.configure(text.replace(file, "password_command: [sh, -c, 'echo geheim; exit 7']"))
    said = wrong(machine, "secret")
    assert "the command failed (7)" in said and "geheim" not in said
    machine.configure(text.replace(file, "password_env: NOT_SET_HERE"))
    assert "variable NOT_SET_HERE is empty" in wrong(machine, "secret")


def test_a_state_directory_that_others_may_enter(machine: Machine) -> None:
    machine.state.chmod(0o755)
    assert f"chmod 700 {machine.state}" in wrong(machine, "access to state")


# The clock


def clock(machine: Machine, *servers: str) -> dict[str, Any]:
    listed = ", ".join(f'"{one}"' for one in servers)
    machine.configure(f"organisation: {{name: Nagar, ntp: [{listed}]}}\nstate: {machine.state}\n")
    return rows(machine, expect=None)["clock"]


@pytest.mark.parametrize(("ahead", "words"), [(1200.0, "20.0 min behind"), (-1200.0, "20.0 min ahead")])
def test_a_clock_that_is_twenty_minutes_off(machine: Machine, ahead: float, words: str) -> None:
    with TimeServer(ahead) as server:
        row = clock(machine, server.address)
    assert row["state"] == "wrong" and row["detail"].startswith(words) and "chrony" in row["hint"]


def test_a_clock_that_is_right_by_one_of_several_servers(machine: Machine) -> None:
    with TimeServer(foreign=True) as server:
        row = clock(machine, "127.0.0.1:9", server.address)  # nothing listens at the first one
        assert row["state"] == "ok" and "right to" in row["detail"] and server.address.replace(":", " port ") in row["detail"]


@pytest.mark.parametrize("lost", [{"stratum": 0}, {"leap": 3}])
def test_a_server_that_does_not_know_the_time_is_not_believed(machine: Machine, lost: dict[str, int]) -> None:
    with TimeServer(1200.0, **lost) as server:  # type: ignore[arg-type]
        row = clock(machine, server.address)
    assert row["state"] == "warning" and "does not know the time itself" in row["detail"]


def test_where_nobody_can_be_asked_it_is_not_called_right(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_clock, "_said", lambda *words: None)
    row = clock(machine)
    assert row["state"] == "not checked" and "samay1.nic.in" in row["hint"]


def test_what_chrony_says() -> None:
    line = "0A2A0001,10.42.0.1,3,1764066600.1,{},-0.000001,0.000021,-3.418,0.001,0.124,0.0121,0.0004,64.2,{}\n"
    seen = doctor_clock.Seen(chrony=line.format("0.000004532", "Normal"))
    assert doctor_clock.judge(seen, asked=False).state == OK
    behind = doctor_clock.judge(doctor_clock.Seen(chrony=line.format("1200.5", "Normal")), asked=False)
    assert behind.state == WRONG and behind.detail.startswith("20.0 min behind")
    lost = doctor_clock.judge(doctor_clock.Seen(chrony=line.format("0.000000000", "Not synchronised")), asked=False)
    assert lost.state == "warning"
    assert doctor_clock.parse_tracking("506 Cannot talk to daemon") is None


def test_time_stamps_go_on_after_2036() -> None:
    assert sntp._moment((0).to_bytes(8, "big"), 2_085_978_496.0) == 2_085_978_496.0
    assert doctor_clock.place("[fd00::1]:1123") == ("fd00::1", 1123)
    assert doctor_clock.place("fd00::1") == ("fd00::1", 123) and doctor_clock.place("a.in") == ("a.in", 123)


# Space


@as_root
def test_disks_that_are_nearly_full(machine: Machine, tmp_path: Path) -> None:
    (machine.data / "bill").write_bytes(os.urandom(4 << 20))
    machine("backup", "run", expect=0)
    with small_disk(tmp_path / "disk", "80M") as disk:
        moved = disk / "store"
        shutil.copytree(machine.store, moved)
        machine.configure((machine.etc / "opsctl.yaml").read_text().replace(str(machine.store), str(moved)))
        assert rows(machine)["space of main"]["state"] == "ok"
        fill(disk, 8 << 20)
        assert "the newest set has 4MiB" in wrong(machine, "space of main")
        shutil.rmtree(moved)
        shutil.copytree(machine.state, disk / "state", symlinks=True)
        machine.configure((machine.etc / "opsctl.yaml").read_text().replace(str(machine.state), str(disk / "state")))
        assert "at least 1 GiB" in wrong(machine, "state")


# Repositories


@pytest.fixture
def behind_rest(machine: Machine) -> Iterator[Any]:
    """The machine's repository behind a rest-server, as ``place(append_only=…)``; it is called append_only."""
    servers: list[RestServer] = []

    def place(*, append_only: bool) -> RestServer:
        server = RestServer(home / f"rest-{len(servers)}", append_only=append_only, user="portal", password="geheim")
        servers.append(server.start())
        where = server.repository_path("portal")
        shutil.copytree(machine.store, where)
        owner = server.directory.stat()
        for path in (where, *where.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
        login = machine.etc / "keys" / "login"
        login.write_text("geheim\n")
        login.chmod(0o600)
        machine.configure(f"""
state: {machine.state}
repositories:
  main:
    url: {server.repository_url('portal')}
    user: portal
    secret_file: {login}
    password_file: {machine.etc}/keys/repository-password
    append_only: true
""")
        return server

    with open_folder() as home:
        yield place
        for server in servers:
            server.stop()


def test_a_store_that_refuses_deletion_as_it_is_said_to(machine: Machine, behind_rest: Any) -> None:
    (machine.data / "bill").write_text("12.50")
    machine("backup", "run", expect=0)
    server = behind_rest(append_only=True)
    before = everything(server.directory / "repositories")
    row = rows(machine, expect=0)["repository main"]
    assert row["state"] == "ok" and "refuses deletion and overwriting, as tried" in row["detail"]
    assert everything(server.directory / "repositories") == before
    server.stop()
    assert "does not answer" in wrong(machine, "repository main")


def test_a_store_that_is_called_append_only_and_is_not(machine: Machine, behind_rest: Any) -> None:
    server = behind_rest(append_only=False)
    before = everything(server.directory / "repositories")
    said = wrong(machine, "repository main")
    assert "it is called append_only" in said and "--append-only" in said
    assert everything(server.directory / "repositories") == before
    (machine.etc / "keys" / "login").write_text("another\n")
    assert "does not accept these credentials" in wrong(machine, "repository main")


def in_bucket(machine: Machine, bucket: Bucket) -> None:
    """The machine's repository in a bucket of an S3 store, called locked."""
    bucket.load(machine.store)
    for name, word in (("s3-id", bucket.server.writer.id), ("s3-secret", bucket.server.writer.secret)):
        file = machine.etc / "keys" / name
        file.touch(0o600)
        file.write_text(f"{word}\n")
    machine.configure(f"""
state: {machine.state}
repositories:
  main:
    url: {bucket.url(tls=True)}
    cacert: {bucket.server.certificate}
    access_key_file: {machine.etc}/keys/s3-id
    secret_key_file: {machine.etc}/keys/s3-secret
    password_file: {machine.etc}/keys/repository-password
    object_lock: {{mode: COMPLIANCE, days: 1}}
""")


@pytest.mark.lab
def test_a_bucket_that_locks_what_is_in_it_and_one_that_does_not(machine: Machine, s3_server: S3Server) -> None:
    bucket = s3_server.bucket()
    in_bucket(machine, bucket)
    before = bucket.keys()
    row = rows(machine, expect=0)["repository main"]
    assert row["state"] == "ok" and "refuses overwriting, deletion and a shorter lock, as tried" in row["detail"]
    assert {name: content for name, content in bucket.keys().items() if "opsctl/" not in name} == before
    weak = (machine.etc / "opsctl.yaml").read_text()
    machine.configure(weak.replace("days: 1", "days: 30"))
    row = rows(machine, expect=0)["repository main"]
    assert row["state"] == "warning" and "default retention is 1 days, and the configuration says 30" in row["detail"]
    in_bucket(machine, s3_server.bucket(mode=None))
    assert "it is called locked by object_lock, and the bucket" in wrong(machine, "repository main")
    (machine.etc / "keys" / "s3-secret").chmod(0o644)
    assert "secret key of repository main" in wrong(machine, "secret")


def test_a_folder_of_this_machine_refuses_nothing(machine: Machine) -> None:
    machine.configure((machine.etc / "opsctl.yaml").read_text().replace("password_file:", "append_only: true, password_file:", 1))
    assert "whoever owns it can delete there" in wrong(machine, "repository main")


def test_a_repository_that_is_locked_to_us_gone_or_another(machine: Machine) -> None:
    secret = machine.etc / "keys" / "repository-password"
    right = secret.read_text()
    secret.write_text("wrong\n")
    assert "the password does not open repository main" in wrong(machine, "repository main")
    secret.write_text(right)
    taken = machine.root / "taken"
    machine.store.rename(taken)
    assert "is gone" in wrong(machine, "repository main")
    machine.restic("init")
    assert "another one" in wrong(machine, "repository main")
    shutil.rmtree(machine.store)
    taken.rename(machine.store)
    machine.forget()
    row = rows(machine)["repository main"]
    assert row["state"] == "warning" and "pins the one that is there" in row["hint"]


def test_a_removable_disk_that_is_away_is_no_fault(machine: Machine) -> None:
    text = (machine.etc / "opsctl.yaml").read_text()
    away = f"  disk: {{url: {machine.root}/media/disk, password_file: {machine.etc}/keys/repository-password, removable: true}}\n"
    machine.configure(text.replace("sources:\n", f"{away}sources:\n", 1))
    row = rows(machine)["repository disk"]
    assert row["state"] == "not checked" and "away" in row["detail"]


# What is overdue, and who would know


def test_what_is_overdue_unverified_or_undrilled_as_last_seen(machine: Machine) -> None:
    (machine.data / "bill").write_text("12.50")
    machine("backup", "run", expect=0)
    found = rows(machine)
    assert found["backup portal"]["state"] == "ok" and found["drills"]["state"] == "warning"
    machine.at("2026-12-20T02:30:00+05:30")
    assert "overdue" in wrong(machine, "backup portal")
    machine.at("2027-02-20T02:30:00+05:30")
    machine("backup", "run", expect=0)
    assert "verify portal --level data" in wrong(machine, "backup portal")
    machine.at("2026-12-12T02:30:00+05:30")
    assert "still to come" in wrong(machine, "backup portal")


def test_nobody_is_told(machine: Machine) -> None:
    found = rows(machine)
    assert [found[name]["state"] for name in ("notices", "dead man")] == ["warning", "warning"]
    with (machine.etc / "opsctl.yaml").open("a") as file:
        file.write("notify: {urls: ['mailto://asha@ops.invalid'], dead_man: 'https://ping.invalid/x'}\n")
    found = rows(machine)
    assert [found[name]["state"] for name in ("notices", "dead man")] == ["ok", "ok"]
    text = (machine.etc / "opsctl.yaml").read_text()
    machine.configure(text.replace("'mailto://asha@ops.invalid'", "'mailtoo://asha@ops.invalid/token'"))
    said = wrong(machine, "notices")
    assert "no notice can be sent to mailtoo://ops.invalid →" in said and "token" not in said


def test_rules_for_a_scan_that_do_not_compile(machine: Machine) -> None:
    assert rows(machine, expect=None)["yara rules"]["state"] == "ok"
    machine.configure(more="scan: {rules: rules}")
    assert "cannot be read" in wrong(machine, "yara rules")
    (machine.etc / "rules").mkdir()
    (machine.etc / "rules" / "own.yar").write_text("rule own { condition: $nothing }\n")
    assert f"{machine.etc}/rules/own.yar:1: unknown pattern" in wrong(machine, "yara rules")
    (machine.etc / "rules" / "own.yar").write_text("rule own { condition: false }\n")
    assert "too" in rows(machine, expect=None)["yara rules"]["detail"]
