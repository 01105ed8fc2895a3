"""Outside programs: what counts as there, what is refused, and what apt is asked to do about it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from opsctl import apt, programs
from opsctl.cli import doctor
from opsctl.errors import ProgramFailed

BOOKWORM = "Debian GNU/Linux 12 (bookworm)"
DEB822 = """\
# made by the installer
Types: deb deb-src
URIs: http://mirror.invalid/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.invalid/debian-security
Suites: bookworm-security
Components: main
"""
TRIXIE_PIN = apt.Write("/etc/apt/preferences.d/opsctl-trixie", apt.PIN.format(release="trixie"))
TRIXIE_SOURCE = apt.Write(
    "/etc/apt/sources.list.d/opsctl-trixie.sources",
    "Types: deb\n"
    "URIs: http://mirror.invalid/debian\n"
    "Suites: trixie\n"
    "Components: main\n"
    "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n",
)
UPDATE = apt.Run(("apt-get", "update"), may_fail=True)


def install(*packages: str) -> apt.Run:
    return apt.Run(("apt-get", "install", "-y", "--no-install-recommends", *packages))


def script(path: Path, *lines: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]), "utf-8")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ('{"message_type":"version","version":"0.18.0","go_version":"go1.24.4"}\n', (0, 18, 0)),
        ("restic 0.14.0 compiled with go1.19.8 on linux/amd64\n", (0, 14, 0)),
        ("restic 0.19.0-dev (compiled manually) compiled with go1.25 on linux/amd64", (0, 19, 0)),
        ("OpenSSH_9.2p1 Debian-2+deb12u6, OpenSSL 3.0.19 27 Jan 2026", (9, 2)),
        ("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", (15, 18)),
        ("postgres (PostgreSQL) 19devel", (19,)),
        ("restic-rest-server version restic-rest-server 0.13.0 compiled with go1.24.2", (0, 13, 0)),
        ("mariadb  Ver 15.1 Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)", (10, 11, 19)),
        ("mariadb-dump from 11.8.9-MariaDB, client 10.19 for debian-linux-gnu (x86_64)", (11, 8, 9)),
        ("mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)", (10, 11, 19)),
        ("mysqldump  Ver 8.0.46 for Linux on x86_64 (MySQL Community Server - GPL)", (8, 0, 46)),
        ("git version 2.39.5", (2, 39, 5)),
        ("setpriv from util-linux 2.38.1", (2, 38, 1)),
        ("command not found", ()),
        ('{"message_type":"error"}', ()),
        ("", ()),
    ],
)
def test_the_version_is_read_from_what_each_program_says(said: str, version: programs.Version) -> None:
    assert programs.parse_version(said) == version


def test_an_old_restic_on_the_path_is_refused_by_name_and_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = script(tmp_path / "bin/restic", "echo restic 0.14.0 compiled with go1.19.8 on linux/amd64")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(ProgramFailed) as refused:
        programs.require_restic()
    assert refused.value.message == f"restic 0.14.0 ({old}) is too old: 0.17 or newer is needed"
    assert refused.value.hint
    check = next(each for each in doctor.checks("use") if each.name == "restic")
    assert not check.ok and "0.14.0" in check.detail
    assert doctor.exit_code([check]) == 3


def test_a_newer_restic_behind_an_old_one_is_said_and_not_installed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = script(tmp_path / "local/restic", "echo restic 0.16.4 compiled with go1.22")
    script(tmp_path / "system/restic", 'echo \'{"version":"0.18.0"}\'')
    monkeypatch.setenv("PATH", f"{tmp_path / 'local'}:{tmp_path / 'system'}")
    monkeypatch.setattr(programs, "SYSTEM_FOLDERS", (str(tmp_path / "system"),))
    found = programs.look(programs.by_name("restic"))
    assert found.shadows
    assert programs.packages_for([found]) == ()
    assert f"remove {old}" in programs.advice(found)


@pytest.mark.parametrize("lines", [("exit 1",), ("echo hello",)])
def test_a_restic_that_does_not_say_its_version_is_not_used(tmp_path: Path, lines: tuple[str, ...]) -> None:
    path = script(tmp_path / "restic", *lines)
    with pytest.raises(ProgramFailed, match="does not say its version"):
        programs.require_restic(path)


def test_a_missing_restic_is_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProgramFailed, match="restic is not installed") as refused:
        programs.require_restic()
    assert "doctor --fix" in str(refused.value.hint)


def test_the_real_restic_is_taken() -> None:
    path, version = programs.require_restic()
    said = subprocess.run([path, "version"], capture_output=True, text=True, check=True).stdout
    assert said.split()[1].startswith(".".join(str(part) for part in version))


def test_debians_wrapper_without_a_version_behind_it_is_not_postgresql(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapper = script(
        tmp_path / "share/pg_wrapper", "echo You must install at least one postgresql-client >&2; exit 1"
    )
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/psql").symlink_to(wrapper)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    versions = tmp_path / "postgresql"
    psql = programs.Program(
        "psql", "use", "postgresql-client", "", minimum=(13,), folders=f"{versions}/*/bin"
    )
    monkeypatch.setattr(programs, "PROGRAMS", (psql,))
    assert programs.look(psql).path is None
    for major in ("9.6", "15", "17"):
        script(versions / major / "bin/psql", f"echo 'psql (PostgreSQL) {major}.1'")
    assert programs.look(psql) == programs.Found(psql, str(versions / "17/bin/psql"), (17, 1), "")


def test_each_purpose_needs_what_the_one_before_needs() -> None:
    names = [{program.name for program in programs.needed(purpose)} for purpose in programs.PURPOSES]
    assert names[0] < names[1] < names[2]
    assert {"restic", "ssh-keygen", "psql", "pg_dump", "pg_dumpall", "pg_restore", "setpriv"} <= names[0]
    assert "initdb" in names[1] - names[0]
    assert "mariadb-dump" not in names[1] and "mariadb-dump" in names[2]
    assert "mariadb-dump" in {program.name for program in programs.needed("use", {"mariadb"})}
    assert "restic-rest-server" in names[2] - names[1]


def test_the_server_package_brings_the_client_programs() -> None:
    nothing = [programs.Found(each, None, (), "missing") for each in programs.needed("test")]
    assert programs.packages_for(nothing) == (
        "restic", "openssh-client", "mariadb-client", "util-linux", "fonts-noto-core", "postgresql", "mariadb-server-core", "restic-rest-server", "radosgw",
        "ceph-mon", "ceph-osd", "git", "systemd",
        "cron", "openssh-server", "sudo", "iproute2", "nftables", "tcsh", "conntrack", "iptables", "sqlite3", "procps", "logrotate",
        "chromium", "libatomic1", "poppler-utils",
    )  # fmt: skip


def test_bookworm_takes_restic_alone_from_trixie() -> None:
    facts = apt.Facts(BOOKWORM, "bookworm", {"/etc/apt/sources.list.d/debian.sources": DEB822})
    plan = apt.plan(["git", "restic", "restic-rest-server"], facts)
    assert plan.steps == (
        TRIXIE_PIN,
        TRIXIE_SOURCE,
        UPDATE,
        install("git"),
        install("restic/trixie", "restic-rest-server/trixie"),
    )
    assert plan.cannot == ()
    assert not any("-t" in step.argv for step in plan.steps if isinstance(step, apt.Run))


def test_a_known_but_old_candidate_does_not_hide_that_bookworm_is_too_old() -> None:
    facts = apt.Facts(BOOKWORM, "bookworm", {"a.sources": DEB822}, {"restic": (0, 14, 0)})
    assert apt.plan(["restic"], facts).steps == (TRIXIE_PIN, TRIXIE_SOURCE, UPDATE, install("restic/trixie"))


def test_a_machine_that_has_trixie_already_keeps_its_own_source_and_pin() -> None:
    both = {"a.sources": DEB822, "b.list": "deb http://mirror.invalid/debian trixie main\n"}
    assert apt.plan(["restic"], apt.Facts(BOOKWORM, "bookworm", both)).steps == (
        UPDATE,
        install("restic/trixie"),
    )


@pytest.mark.parametrize("candidates", [{"restic": (0, 18, 0)}, {"restic": (0, 17, 3)}])
def test_a_new_enough_restic_comes_the_plain_way(candidates: dict[str, programs.Version]) -> None:
    facts = apt.Facts("Debian GNU/Linux 13 (trixie)", "trixie", {}, candidates)
    assert apt.plan(["restic"], facts).steps == (UPDATE, install("restic"))
    backports = apt.Facts(BOOKWORM, "bookworm", {"a.sources": DEB822}, candidates)
    assert apt.plan(["restic"], backports).steps == (UPDATE, install("restic"))


def test_where_no_known_source_has_a_new_enough_restic_it_says_so_and_installs_the_rest() -> None:
    facts = apt.Facts("Ubuntu 24.04 LTS", "noble", {}, {"restic": (0, 16, 4), "git": (2, 43, 0)})
    plan = apt.plan(["restic", "git"], facts)
    assert plan.cannot == ("restic",)
    assert plan.steps == (UPDATE, install("git"))
    assert "Ubuntu 24.04 LTS has no restic 0.17 or newer" in apt.why_not("restic", facts)


def test_bookworm_without_a_usable_source_of_its_own_cannot_bring_restic() -> None:
    plan = apt.plan(["restic"], apt.Facts(BOOKWORM, "bookworm", {"a.list": "deb cdrom:[x]/ bookworm main\n"}))
    assert (plan.steps, plan.cannot) == ((), ("restic",))


def test_the_postgresql_package_makes_no_database_and_leaves_no_setting_behind() -> None:
    plan = apt.plan(["postgresql"], apt.Facts("Debian GNU/Linux 13 (trixie)", "trixie"))
    assert plan.steps == (
        UPDATE,
        apt.Write(apt.NO_CLUSTER, "create_main_cluster = false\n"),
        install("postgresql"),
        apt.Remove(apt.NO_CLUSTER),
    )
    assert any("no database is made" in note for note in plan.notes)


def test_the_sshd_of_the_tests_is_kept_from_being_started() -> None:
    plan = apt.plan(["openssh-server"], apt.Facts("Debian GNU/Linux 13 (trixie)", "trixie"))
    assert [type(step) for step in plan.steps] == [apt.Run, apt.Write, apt.Run]
    assert isinstance(plan.steps[1], apt.Write) and plan.steps[1].path == "/etc/ssh/sshd_not_to_be_run"
    assert any("keeps it from being started" in note for note in plan.notes)


def test_nothing_missing_is_nothing_to_do() -> None:
    assert apt.plan([], apt.Facts(BOOKWORM, "bookworm", {"a.sources": DEB822})) == apt.Plan()
    assert apt.one_line(()) == ""


@pytest.mark.parametrize(
    ("line", "derived"),
    [
        (
            "deb http://mirror.invalid/debian bookworm main contrib",
            "deb http://mirror.invalid/debian trixie main",
        ),
        (
            "deb [arch=amd64 signed-by=/usr/share/keyrings/own.gpg] https://m.invalid/ bookworm main",
            "deb [arch=amd64 signed-by=/usr/share/keyrings/own.gpg] https://m.invalid/ trixie main",
        ),
    ],
)
def test_a_classic_source_line_is_followed_with_its_options(line: str, derived: str) -> None:
    other = "# deb http://commented.invalid/debian bookworm main\ndeb-src http://m.invalid/x bookworm main\n"
    text = f"{other}{line}\n"
    found = apt.another_release({"/etc/apt/sources.list": text}, "bookworm", "trixie")
    assert found == apt.Write("/etc/apt/sources.list.d/opsctl-trixie.list", derived + "\n")


def test_a_key_inside_a_stanza_is_carried_along_and_a_disabled_stanza_is_not_used() -> None:
    key = "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEY865UxYJ\n -----END PGP PUBLIC KEY BLOCK-----\n"
    text = (
        "Enabled: no\nTypes: deb\nURIs: http://off.invalid/debian\nSuites: bookworm\nComponents: main\n\n"
        "Types: deb\nURIs: http://on.invalid/debian\nSuites: bookworm\nComponents: main\n"
        f"Signed-By:{key}"
    )
    found = apt.another_release({"d.sources": text}, "bookworm", "trixie")
    assert found is not None
    assert "off.invalid" not in found.text
    assert found.text.endswith(f"Signed-By: {key}")
    assert apt.entries({"d.sources": found.text})[0].suites == ("trixie",)


def test_others_package_sources_that_use_the_releases_name_are_not_followed() -> None:
    sources = {
        "/etc/apt/sources.list.d/a-vendor.list": "deb [signed-by=/k.gpg] https://v.invalid bookworm main\n",
        "/etc/apt/sources.list.d/debian.sources": DEB822,
    }
    assert apt.another_release(sources, "bookworm", "trixie") == TRIXIE_SOURCE


def test_what_apt_would_install_is_read_from_its_policy() -> None:
    text = (
        "restic:\n  Installed: (none)\n  Candidate: 0.14.0-1+b5\n  Version table:\n     0.18.0-1+b4 50\n"
        "git:\n  Installed: 1:2.39.5-0+deb12u2\n  Candidate: 1:2.39.5-0+deb12u2\n"
        "restic-rest-server:\n  Installed: (none)\n  Candidate: (none)\n"
    )
    assert apt.parse_policy(text) == {"restic": (0, 14, 0), "git": (2, 39, 5)}


def test_the_facts_come_from_the_files_of_the_machine(tmp_path: Path) -> None:
    folder = tmp_path / "etc/apt/sources.list.d"
    folder.mkdir(parents=True)
    (tmp_path / "etc/os-release").write_text(
        f'PRETTY_NAME="{BOOKWORM}"\nVERSION_CODENAME=bookworm\n', "utf-8"
    )
    (folder / "debian.sources").write_text(DEB822, "utf-8")
    (folder / "old.list.save").write_text("deb http://saved.invalid/debian bookworm main\n", "utf-8")
    facts = apt.read_facts([], root=str(tmp_path))
    assert (facts.system, facts.codename) == (BOOKWORM, "bookworm")
    assert facts.sources == {str(folder / "debian.sources"): DEB822}


def test_plain_installs_are_said_as_plain_commands() -> None:
    steps = apt.plan(["git"], apt.Facts("Debian GNU/Linux 13 (trixie)", "trixie")).steps
    quiet = "sudo DEBIAN_FRONTEND=noninteractive"
    assert apt.one_line(steps) == (
        f"{quiet} apt-get update; {quiet} apt-get install -y --no-install-recommends git"
    )


def test_the_line_for_a_person_does_what_the_steps_do(tmp_path: Path) -> None:
    """The line runs for real, with a recorder in apt-get's place and a folder in /etc's."""
    facts = apt.Facts(BOOKWORM, "bookworm", {"a.sources": DEB822.replace("/debian\n", "/de$bi`an\"%s\\n'\n")})
    steps = apt.plan(["postgresql", "restic"], facts).steps
    etc = tmp_path / "etc"
    for folder in ("apt/preferences.d", "apt/sources.list.d"):
        (etc / folder).mkdir(parents=True)
    here = [
        apt.Write(step.path.replace("/etc/", f"{etc}/"), step.text) if isinstance(step, apt.Write)
        else apt.Remove(step.path.replace("/etc/", f"{etc}/")) if isinstance(step, apt.Remove)
        else step
        for step in steps
    ]  # fmt: skip
    log = tmp_path / "log"
    cluster = apt.NO_CLUSTER.replace("/etc/", f"{etc}/")
    script(
        tmp_path / "bin/apt-get",
        f'echo "$DEBIAN_FRONTEND $* $(cat {cluster} 2>/dev/null)" >> {log}',
        '[ "$1" != update ]',
    )
    line = apt.one_line(here, sudo=False)
    assert "\n" not in line
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    subprocess.run(["sh", "-c", line], env={**os.environ, "PATH": path}, check=True)
    for step in here:
        if isinstance(step, apt.Write) and step.path != cluster:
            assert Path(step.path).read_text("utf-8") == step.text
    assert not Path(cluster).exists()
    assert [re.sub(" +", " ", said).strip() for said in log.read_text("utf-8").splitlines()] == [
        "noninteractive update",
        "noninteractive install -y --no-install-recommends postgresql create_main_cluster = false",
        "noninteractive install -y --no-install-recommends restic/trixie create_main_cluster = false",
    ]


def test_carrying_out_goes_on_after_a_failed_update_and_cleans_up_after_a_failed_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(tmp_path / "bin/apt-get", 'echo "E: $* says no"; exit 100')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    steps = apt.plan(["postgresql"], apt.Facts("Debian GNU/Linux 13 (trixie)", "trixie")).steps
    said: list[str] = []
    with pytest.raises(apt.AptFailed, match=r"(?s)install.*postgresql.*ended with 100.*says no"):
        apt.carry_out(steps, said.append, root=str(tmp_path))
    assert any("going on although" in line for line in said)
    assert not (tmp_path / apt.NO_CLUSTER.lstrip("/")).exists()
    assert not (tmp_path / "etc/postgresql-common/createcluster.d").exists()


def test_the_doctor_names_what_is_wrong_and_what_to_do() -> None:
    restic = programs.by_name("restic")
    seen = doctor.Seen(
        programs=(programs.Found(restic, None, (), "restic is not installed (keeps the backups)"),),
        python=(3, 10, 2),
        root=False,
        state="/var/lib/opsctl",
        free=5 << 20,
    )
    checks = {check.name: check for check in doctor.judge(seen)}
    assert [name for name, check in checks.items() if not check.ok] == ["python", "restic", "state"]
    assert all(check.hint for check in checks.values())
    assert checks["user"].state == "warning" and "owners" in checks["user"].detail
    assert doctor.exit_code(list(checks.values())) == 3


def test_a_healthy_machine_is_0() -> None:
    git = programs.by_name("git")
    seen = doctor.Seen((programs.Found(git, "/usr/bin/git", (2, 39), ""),), (3, 11, 2), True, "/s", 5 << 30)
    checks = doctor.judge(seen)
    assert doctor.exit_code(checks) == 0
    assert [check.hint for check in checks] == [""] * len(checks)


def test_the_state_directory_need_not_be_there_yet(tmp_path: Path) -> None:
    class Config:
        state = tmp_path / "not" / "yet"

    state = next(check for check in doctor.checks("use", Config()) if check.name == "state")
    assert "free in" in state.detail
