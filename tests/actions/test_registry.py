"""Every word that playbooks can use is an action with a page."""

from __future__ import annotations

from opsctl.actions.registry import action, words
from tests.machine import Machine


def test_every_word_has_an_action_and_explain_lists_them_all(machine: Machine) -> None:
    assert [action(word).word for word in words()] == words()
    listed = machine.json("explain", expect=0).result["words"]
    assert list(listed) == words() and all(listed.values())
