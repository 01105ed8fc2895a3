"""main: one door from what is raised to exit codes, messages and the one JSON document."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from typing import Any

import pytest

from opsctl import errors
from opsctl.cli import everywhere, lazy
from opsctl.cli.session import Session
from tests.cli import samples


class TestHelp:
    def test_the_first_screen_of_the_root_has_every_command(self, call: Any, monkeypatch: Any) -> None:
        monkeypatch.setattr(lazy.Root, "entries", lazy.COMMANDS)
        monkeypatch.setenv("COLUMNS", "80")
        code, out, err = call("--help")
        lines = out.splitlines()
        assert (code, err) == (0, "")
        assert max(map(len, lines)) <= 80
        for entry in lazy.COMMANDS:
            assert any(f" {entry.name} " in line and line.endswith(entry.help) for line in lines[:36]), (
                entry.name
            )
        assert all(name in out for name in ("--config", "--dry-run", "--version", "Exit codes:"))

    @pytest.mark.parametrize("words", [("sample",), ("sample", "given"), ("alone",)])
    def test_every_other_help_names_the_options_that_work_everywhere(self, call: Any, words: Any) -> None:
        code, out, _ = call(*words, "--help")
        assert code == 0
        assert everywhere.SENTENCE in " ".join(out.split())

    def test_the_commands_of_the_table_can_be_loaded(self) -> None:
        for entry in lazy.COMMANDS:
            found = lazy.load(entry)
            assert found.name == entry.name
            assert found.help, entry.name
            for name in found.list_commands(None) if isinstance(found, lazy.Group) else ():
                command = found.get_command(None, name)
                assert isinstance(command, lazy.Command) and command.name == name and command.help, (entry.name, name)

    def test_as_a_document(self, document: Any) -> None:
        assert "Usage: opsctl sample" in document("sample", "--help", "--json")["result"]["text"]

    @pytest.mark.parametrize(
        "words", [("--version",), ("--version", "--config", "/x"), ("alone", "--version")]
    )
    def test_version(self, call: Any, document: Any, words: tuple[str, ...]) -> None:
        from opsctl import __version__

        assert call(*words) == (0, f"opsctl {__version__}\n", "")
        assert document(*words, "--json")["result"] == {"version": __version__}


class TestWrongUsage:
    @pytest.mark.parametrize(
        ("words", "command", "message"),
        [
            (("smple",), "", "There is no command 'smple'; did you mean 'sample'?"),
            (("sample", "gven"), "sample", "There is no command 'gven'; did you mean 'given'?"),
            (("sample", "given", "--bogus"), "sample given", "no such option"),
            (("sample", "raise"), "sample raise", "missing argument 'what'"),
            (("sample", "given", "--level", "x"), "sample given", "'x' is not one of 'quick', 'data'"),
            (("sample", "given", "--number", "x"), "sample given", "'x' is not a "),
            (("sample", "given", "--percent", "101"), "sample given", "Invalid value for '--percent'"),
            (("--bogus",), "", "no such option"),
            (("--show-completion", "tcsh"), "", "no completion for 'tcsh'"),
            (("alone", "a"), "alone", "unexpected extra argument"),
        ],
    )
    def test_is_2(self, call: Any, document: Any, words: tuple[str, ...], command: str, message: str) -> None:
        code, out, err = call(*words)
        assert (code, out) == (2, "")
        assert err.startswith("opsctl: ") and "\n  hint: " in err and message.lower() in err.lower()
        found = document(*words, "--json")
        assert found["command"] == command
        assert found["errors"][0]["code"] == 2 and message.lower() in found["errors"][0]["message"].lower()

    @pytest.mark.parametrize(
        ("words", "usage"), [((), "Usage: opsctl "), (("sample",), "Usage: opsctl sample ")]
    )
    def test_a_group_alone_shows_its_help(self, call: Any, document: Any, words: Any, usage: str) -> None:
        code, out, err = call(*words)
        assert (code, out) == (2, "")
        assert err.startswith(usage) and "opsctl: which command?" in err
        assert document(*words, "--json")["errors"][0]["message"] == "which command?"

    def test_the_first_screen_begins_with_what_one_came_for_at_night(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        out = subprocess.run([sys.executable, "-m", "opsctl", "--help"], capture_output=True, text=True, check=True).stdout
        lines = out.splitlines()
        assert all(len(line) <= 80 for line in lines)
        first = " ".join(" ".join(lines[:11]).split())
        for told in ("cut off and proven off", "CERT-In clock", "opsctl isolate apply --zone ZONE", "opsctl run ransomware", "opsctl status"):
            assert told in first, first
        assert "people still approve" in out and "approves nothing" not in out
        for words in (["isolate", "apply", "--help"], ["playbooks", "show", "ransomware"]):
            subprocess.run([sys.executable, "-m", "opsctl", *words], capture_output=True, check=True)

    def test_values_become_what_they_are_declared(self, document: Any) -> None:
        found = document(
            "sample",
            "given",
            "--json",
            "--level",
            "data",
            "--number",
            "-4",
            "--percent",
            "7",
            "--place",
            "/a/b",
            "--many",
            "x",
            "--many",
            "y",
            "n1",
            "n2",
        )["result"]
        assert {name: found[name] for name in ("level", "number", "percent", "place", "many", "names")} == {
            "level": "data",
            "number": -4,
            "percent": 7,
            "place": "/a/b",
            "many": ["x", "y"],
            "names": ["n1", "n2"],
        }


CODES = {
    "OpsError": 1,
    "UsageError": 2,
    "Partial": 3,
    "Waiting": 4,
    "Overdue": 5,
    "ConfigError": 10,
    "Busy": 11,
    "Refused": 12,
    "Unreachable": 13,
    "ProgramFailed": 20,
    "NotConverged": 21,
    "DamagedData": 22,
    "SafetyRefusal": 23,
}


class TestErrors:
    @pytest.mark.parametrize(("name", "code"), CODES.items())
    def test_each_has_its_code(self, call: Any, document: Any, name: str, code: int) -> None:
        assert call("sample", "raise", name) == (
            code,
            "",
            "opsctl: portal/portal-db: it went wrong\n  hint: do something else\n",
        )
        found = document("sample", "raise", "--json", name)
        assert (found["exit_code"], found["command"], found["result"]) == (code, "sample raise", {})
        assert found["errors"] == [
            {
                "code": code,
                "message": "it went wrong",
                "hint": "do something else",
                "where": "portal/portal-db",
            }
        ]

    def test_no_class_is_forgotten(self) -> None:
        classes = {
            found.__name__
            for found in vars(errors).values()
            if isinstance(found, type) and issubclass(found, errors.OpsError)
        }
        assert classes == {*CODES, "Interrupted"}

    def test_every_problem_of_a_configuration_has_its_line(self, call: Any) -> None:
        assert call("sample", "raise", "config") == (
            10,
            "",
            ("opsctl: two mistakes\n  a.yaml:1: x: required\n  a.yaml:2: \\x1b[31my: unknown\n"),
        )

    def test_several(self, call: Any, document: Any) -> None:
        code, out, err = call("sample", "tell", "--failed")
        assert code == 3 and out.startswith("Sets\n")
        assert err == ("opsctl: warning: the clock went back\nopsctl: one\nopsctl: two\n  hint: try later\n")
        assert [found["code"] for found in document("sample", "tell", "--failed", "--json")["errors"]] == [
            20,
            13,
        ]

    def test_quiet_says_only_what_is_wrong(self, call: Any) -> None:
        assert call("sample", "tell", "-q") == (0, "", "")
        assert call("sample", "tell", "-q", "--failed") == (
            3,
            "",
            "opsctl: one\nopsctl: two\n  hint: try later\n",
        )

    @pytest.mark.parametrize(
        ("words", "line"),
        [
            (("keyboard",), "opsctl: interrupted\n"),
            (("abort",), "opsctl: interrupted\n"),
            (("keyboard", "--run", "R1"), "opsctl: interrupted; `opsctl resume R1` goes on\n"),
        ],
    )
    def test_interrupted(self, call: Any, document: Any, words: tuple[str, ...], line: str) -> None:
        assert call("sample", "raise", *words) == (130, "", line)
        found = document("sample", "raise", "--json", *words)
        assert (found["exit_code"], found["errors"][0]["code"]) == (130, 130)
        assert found["run"] == ("R1" if "R1" in words else None)

    def test_an_exit_of_typer(self, call: Any) -> None:
        assert call("sample", "raise", "leave") == (7, "", "")


class TestBugs:
    def test_one_line_and_no_trace(self, call: Any) -> None:
        code, out, err = call("sample", "raise", "bug")
        assert (code, out) == (1, "")
        assert re.fullmatch(r"opsctl: a bug: TypeError in opsctl\.cli:\d+; --verbose shows the trace\n", err)

    def test_the_trace_when_verbose(self, call: Any) -> None:
        code, _, err = call("sample", "raise", "bug", "-v")
        assert code == 1 and "Traceback (most recent call last)" in err
        assert err.splitlines()[-1].endswith("; the trace is above")

    def test_the_place_that_the_hook_found(self, call: Any) -> None:
        _, _, err = call("sample", "raise", "bug", "--hook", "works")
        assert "; the trace is in the journal, TypeError in opsctl.cli:" in err and err.endswith(", True\n")

    def test_a_hook_that_fails(self, call: Any) -> None:
        code, _, err = call("sample", "raise", "bug", "--hook", "fails", "-v")
        assert code == 1 and "ZeroDivisionError" in err and "a bug: TypeError in" in err

    @pytest.mark.parametrize("what", ["bug", "exit", "pipe"])
    def test_as_a_document(self, document: Any, what: str) -> None:
        found = document("sample", "raise", what, "--json")
        assert found["exit_code"] == 1
        assert found["errors"][0]["message"].startswith("a bug: ")

    @pytest.mark.parametrize("unfit", ["object", "nan"])
    def test_a_result_that_json_cannot_hold(self, document: Any, unfit: str) -> None:
        found = document("sample", "tell", "--unfit", unfit, "--json")
        assert (found["exit_code"], found["result"], found["run"]) == (1, {}, "20261124-0230-portal-7f3a")

    def test_a_text_that_cannot_be_written(self, call: Any) -> None:
        code, _, err = call("sample", "tell", "--unfit", "text")
        assert code == 1 and "a bug: ZeroDivisionError in opsctl.cli.render:" in err

    def test_a_command_that_cannot_be_imported(self, document: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lazy.Root, "entries", (lazy.Entry("test", "gone", "tests.cli.nothing:app", ""),))
        assert "ModuleNotFoundError" in document("gone", "--json")["errors"][0]["message"]


class TestOutput:
    def test_people_see_names_harmless(self, call: Any) -> None:
        code, out, err = call("sample", "tell")
        assert (code, err) == (0, "opsctl: warning: the clock went back\n")
        assert out.splitlines() == [
            "Sets",
            "id                         what",
            "20261124-0230-portal-0000  nagar\\xff\\n\\x1b[31m",
            "20261124-0230-portal-0001  nagar\\xff\\n\\x1b[31m",
        ]

    def test_the_document_holds_names_that_are_no_utf8(self, document: Any) -> None:
        found = document("sample", "tell", "--json")
        assert found["result"] == {
            "name": "nagar\\xff\n\x1b[31m",
            "nagar\\xff\n\x1b[31m": "key",
            "other": "नगर",
        }
        assert (found["run"], found["warnings"]) == ("20261124-0230-portal-7f3a", ["the clock went back"])

    def test_noise_stays_out_of_the_document(self, call: Any) -> None:
        code, out, err = call("sample", "tell", "--json", "--noise")
        assert code == 0 and json.loads(out)["errors"] == [] and err == "noise\n"

    @pytest.mark.parametrize(
        "words",
        [
            ("--help",),
            ("sample", "tell", "--rows", "100000"),
            ("sample", "tell", "--rows", "100000", "--json"),
        ],
    )
    def test_a_reader_that_goes_away_is_no_error(self, words: tuple[str, ...]) -> None:
        with samples.program(*words) as running:
            assert running.stdout is not None and running.stderr is not None
            running.stdout.read(1)
            running.stdout.close()
            errors_seen = running.stderr.read()
            running.wait(timeout=samples.LONGEST)
        assert errors_seen in ("", "opsctl: warning: the clock went back\n")
        assert running.returncode == 0

    def test_a_reader_that_was_never_there(self) -> None:
        with samples.program("sample", "raise", "Busy", "--json") as running:
            assert running.stdout is not None and running.stderr is not None
            running.stdout.close()
            assert running.stderr.read() == ""
            running.wait(timeout=samples.LONGEST)
        assert running.returncode == 11

    def test_a_full_disk_behind_the_output(self) -> None:
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "tests.cli.samples", "sample", "tell"],
                cwd=samples.ROOT,
                env=samples.environment(),
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert (done.returncode, done.stderr) == (
            1,
            "opsctl: the output could not be written: No space left on device\n",
        )

    def test_a_locale_without_the_letters(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "tests.cli.samples", "sample", "tell", "--json"],
            cwd=samples.ROOT,
            env=samples.environment(PYTHONIOENCODING="ascii"),
            capture_output=True,
            check=True,
        )
        assert json.loads(done.stdout.decode("utf-8", "strict"))["result"]["other"] == "नगर"


class TestQuestions:
    def test_without_a_terminal_it_is_4(self, call: Any, document: Any) -> None:
        assert call("sample", "ask") == (
            4,
            "",
            "opsctl: nobody can be asked here: Sure?\n  hint: give --yes, or ask again at a terminal\n",
        )
        assert document("sample", "ask", "--json")["errors"][0]["code"] == 4

    def test_yes_answers(self, document: Any) -> None:
        found = document("sample", "ask", "--yes", "--default", "tax", "--json")
        assert found["result"] == {"sure": True, "word": "tax"}

    def test_yes_knows_no_word(self, call: Any) -> None:
        assert call("sample", "ask", "--yes") == (
            4,
            "",
            "opsctl: nobody can be asked here: Which word\n  hint: answer it with --word\n",
        )

    def test_the_clock_is_utc_and_can_be_given(self) -> None:
        from datetime import UTC, datetime, timedelta, timezone

        noon = datetime(2026, 12, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=30)))
        assert Session(clock=lambda: noon).now() == datetime(2026, 12, 1, 6, 30, tzinfo=UTC)
        assert Session(clock=lambda: noon).now().tzinfo is UTC


def test_sigterm_outside_of_work_is_143_and_one_document(tmp_path: Any) -> None:
    with samples.program(
        "sample", "work", "--how", "unprepared", "--folder", str(tmp_path), "--json"
    ) as running:
        samples.wait_for(tmp_path / "begun", running)
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=samples.LONGEST)
    assert (running.returncode, err) == (143, "")
    found = json.loads(out)
    assert (found["exit_code"], found["errors"][0]["code"], found["run"]) == (143, 143, "RUN-1")
