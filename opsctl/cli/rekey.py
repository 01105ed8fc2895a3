"""``opsctl hosts rekey``: a pinned host key changed, when two people have compared the new one and signed it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.cli.session import Session, of
from opsctl.errors import OpsError, Refused, SafetyRefusal, Unreachable, UsageError, Waiting, concerning
from opsctl.model.quantities import counted

if TYPE_CHECKING:
    from opsctl.model.hosts import Host
    from opsctl.model.two_people import Signed
    from opsctl.wiring import Site

_CONSOLE = "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"


def rekey(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="HOST", help="name of a configured host")],
    fingerprint: Annotated[str | None, typer.Option(
        "--fingerprint", metavar="SHA256:…", help="the new key's, as its own console shows it; otherwise a person is asked")] = None,
    by: Annotated[str | None, typer.Option("--by", metavar="NAME", help="sign, as this one of `people`")] = None,
    key: Annotated[Path | None, typer.Option(
        "--key", metavar="FILE", help="your SSH private key, or the .pub of one that your agent holds")] = None,
    file: Annotated[Path | None, typer.Option(
        "--file", metavar="FILE", help="the request, to be carried to another machine and back; in the state directory if not given")] = None,
) -> Report:
    """Change a host's pinned key, with a second person.

    The first call fetches the new key and writes a request; then two people, each with the fingerprint that they saw on
    the host's own console, sign it with `--by`, here or on another machine with the same configuration; then the same
    call without `--by` checks all of it and changes the configuration. A request holds for a day.
    """
    from opsctl.cli.work import open_site
    from opsctl.model.unknown import unknown

    session = of(context)
    if fingerprint is not None and re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}", fingerprint) is None:
        raise UsageError(f"--fingerprint {fingerprint}: no fingerprint", hint=f"SHA256: and 43 characters: {_CONSOLE}")
    site = open_site(session)
    host = site.config.hosts.get(name)
    if host is None:
        raise unknown("host", name, site.config.hosts)
    if host.pinned is None:
        raise UsageError(f"no key is pinned for {name}", hint=f"opsctl hosts add {name} {host.address}")
    place = file or site.state / "rekeys" / f"{name}.json"
    return _Rekey(session, site, name, host, place).go(fingerprint, by, key)


class _Rekey:
    """One call about one host's request."""

    def __init__(self, session: Session, site: Site, name: str, host: Host, place: Path) -> None:
        self.session = session
        self.site = site
        self.name = name
        self.host = host
        self.place = place
        self.said: list[str | Mark] = []

    def go(self, fingerprint: str | None, by: str | None, key: Path | None) -> Report:
        from opsctl.wiring.people import accept_first, refuse_changed

        refuse_changed(self.site)
        made = not self.place.exists()
        if made:
            asked = self._make(fingerprint)
            if asked is None:
                return self._report({}, [], applied=False)
            signed: list[Signed] = []
        else:
            asked, signed = self._read()
            self._refuse_stale(asked)
            signed = self._checked(asked, signed)
        self._show(asked)
        if by is not None:
            if not made:
                self._compare(asked, fingerprint)
            signed = [*signed, self._sign(asked, by, key)]
        people = self._weigh(signed)
        if (made or by is not None) and not self.session.dry_run:
            accept_first(self.site)
            self._write(asked, signed)
        if by is None and len(people) >= _people():
            return self._apply(asked, signed, people)
        return self._waiting(asked, people, waits=by is None)

    def _make(self, fingerprint: str | None) -> dict[str, Any] | None:
        from opsctl.model.rekey import request

        shown = self.site.shown_key(self.name, self.host)
        found = self.site.fingerprint(shown)
        if shown == self.host.pinned:
            self.said.append(Mark(f"{self.name} shows the key that is pinned: {found}; nothing is to be changed", Tone.GOOD))
            return None
        asked = request(host=self.name, address=self.host.address, port=self.host.port, old=str(self.host.pinned), new=shown,
                        nonce=secrets.token_hex(16), now=self.site.clock())
        self._compare(asked, fingerprint)
        return asked

    def _compare(self, asked: Mapping[str, Any], fingerprint: str | None) -> None:
        """The person who is here has seen the new key on the host's own console. ``--yes`` does not say so."""
        found = self.site.fingerprint(asked["new"])
        if fingerprint is None:
            old = self.site.fingerprint(asked["old"])
            question = (f"{self.name} had the key {old}, and shows {found}. On its own console: {_CONSOLE}. "
                        "Is the new one the same there? yes or no")
            if self.session.ask(question, option="--fingerprint").lower() not in ("y", "yes"):
                raise Refused(f"the key of {self.name} was not confirmed", where=self.name, hint="nothing was written")
        elif fingerprint != found:
            raise Refused(f"{self.name} shows the key {found}, not {fingerprint}", where=self.name,
                          hint="nothing was written. Look again on its own console; if it is right there, somebody stands between")

    def _read(self) -> tuple[dict[str, Any], list[Signed]]:
        from opsctl.cli.signing import read_json
        from opsctl.model.rekey import read

        with concerning(str(self.place)):
            return read(read_json(self.place, "a request"))

    def _refuse_stale(self, asked: Mapping[str, Any]) -> None:
        from opsctl.model.rekey import refuse_stale

        try:
            refuse_stale(asked, host=self.name, address=self.host.address, port=self.host.port, pinned=self.host.pinned,
                         now=self.site.clock())
        except SafetyRefusal as error:
            if error.hint and error.hint.startswith("begin anew"):
                error.hint = f"remove {self.place} and begin anew: opsctl hosts rekey {self.name}"
            raise
        others = [entry.data for entry in self.site.journal.read(types=("hosts.rekeyed",)) if entry.data.get("host") == self.name]
        if any(one["request"]["nonce"] == asked["nonce"] for one in others[:-1]):
            raise SafetyRefusal(f"this request was carried out before, and {self.name} has had another key since",
                                where=self.name, hint=f"remove {self.place} and begin anew: opsctl hosts rekey {self.name}")

    def _checked(self, asked: Mapping[str, Any], signed: list[Signed]) -> list[Signed]:
        from opsctl.model.rekey import NAMESPACE
        from opsctl.wiring.people import checked

        return checked(self.site, asked, signed, NAMESPACE, self.name)

    def _sign(self, asked: Mapping[str, Any], by: str, key: Path | None) -> Signed:
        from opsctl.cli.signing import sign_request
        from opsctl.model.rekey import NAMESPACE

        return sign_request(self.site, asked, by, key, self._keys(), NAMESPACE)

    def _keys(self) -> dict[str, str]:
        return {name: self.site.fingerprint(person.ssh_key) for name, person in self.site.config.people.items() if person.ssh_key}

    def _weigh(self, signed: list[Signed]) -> list[str]:
        from opsctl.model.two_people import weigh

        return weigh(signed, self._keys(), f"the new key of {self.name}", self.name)

    def _write(self, asked: Mapping[str, Any], signed: list[Signed]) -> None:
        from opsctl.cli.signing import write_request

        write_request(self.place, asked, signed)

    def _apply(self, asked: Mapping[str, Any], signed: list[Signed], people: list[str]) -> Report:
        from opsctl.engine.hosts_file import change_key

        directory = self.site.config.directory
        if directory is None:
            raise Waiting("there is no configuration directory to write to", hint="opsctl init")
        warnings = self._look_now(asked)
        if self.session.dry_run:
            self.said.append(f"would pin the new key of {self.name}, signed by {' and '.join(people)}")
            return self._report(asked, people, applied=False, warnings=warnings)
        if not self.session.confirm(f"pin the new key of {self.name}, signed by {' and '.join(people)}?"):
            raise SafetyRefusal("nothing was changed")
        self.site.journal.append("hosts.rekeyed", {
            "host": self.name, "old": self.site.fingerprint(asked["old"]), "new": self.site.fingerprint(asked["new"]),
            "request": dict(asked), "signatures": [{"by": one.by, "key": one.signer, "signature": one.signature} for one in signed]})
        try:
            path = change_key(directory, self.name, asked["old"], asked["new"])
        except OpsError as error:
            self.site.journal.append("hosts.rekey-failed", {"host": self.name, "error": error.as_dict()})
            raise
        self.place.unlink(missing_ok=True)
        self.said.append(Mark(f"{self.name}: the new key is pinned in {path}, signed by {' and '.join(people)}", Tone.GOOD))
        self.said.append(f"next: opsctl hosts check {self.name}")
        return self._report(asked, people, applied=True, warnings=warnings)

    def _look_now(self, asked: Mapping[str, Any]) -> list[str]:
        """Refused where the host shows a third key by now. One that does not answer has been compared by two people."""
        try:
            shown = self.site.shown_key(self.name, self.host)
        except Unreachable as error:
            return [f"{error.message}: the key was not looked at again"]
        if shown != asked["new"]:
            raise Refused(f"{self.name} now shows the key {self.site.fingerprint(shown)}, which is not the one that was signed",
                          where=self.name, hint="nothing was written; somebody may stand between")
        return []

    def _show(self, asked: Mapping[str, Any]) -> None:
        self.said += [f"{self.name} ({asked['address']} port {asked['port']})",
                      f"  old key  {self.site.fingerprint(asked['old'])}",
                      f"  new key  {self.site.fingerprint(asked['new'])}"]

    def _waiting(self, asked: Mapping[str, Any], people: list[str], *, waits: bool) -> Report:
        missing = _people() - len(people)
        self.said.append(f"signed by {', '.join(people) or 'nobody yet'}; it holds until {asked['expires']}, in {self.place}")
        sign = f"opsctl hosts rekey {self.name} --file {self.place} --by NAME --fingerprint SHA256:…"
        errors: list[OpsError] = []
        if missing <= 0:
            self.said.append(f"next: opsctl hosts rekey {self.name} --file {self.place}")
        elif waits:
            errors = [Waiting(f"{counted(missing, 'person', 'people')} of `people` still {'has' if missing == 1 else 'have'} to "
                              f"compare the new key of {self.name} on its own console, and sign", hint=sign, where=self.name)]
        else:
            self.said.append(f"next, another person: {sign}")
        return self._report(asked, people, applied=False, errors=errors)

    def _report(self, asked: Mapping[str, Any], people: list[str], *, applied: bool, warnings: list[str] | None = None,
                errors: list[OpsError] | None = None) -> Report:
        keys = {word: self.site.fingerprint(asked[word]) if asked else None for word in ("old", "new")}
        result = {"host": self.name, **keys, "signed_by": people, "expires": asked.get("expires"), "applied": applied,
                  "file": str(self.place) if asked and not applied else None}

        def text(out: Out) -> None:
            out.lines(self.said)

        return Report(result=result, text=text, errors=errors or [], warnings=[*(warnings or ()), *self.site.said])


def _people() -> int:
    from opsctl.model.two_people import PEOPLE

    return PEOPLE
