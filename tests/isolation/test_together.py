"""What many threads ask at nearly the same time is one piece of work, and one bad question spoils no other."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from opsctl.errors import OpsError, ProgramFailed, Unreachable
from opsctl.isolation.together import Together


def asked(together: Together[int, int], numbers: Sequence[int]) -> list[int | OpsError]:
    def ask(number: int) -> int | OpsError:
        try:
            return together(number)
        except OpsError as error:
            return error

    with ThreadPoolExecutor(len(numbers)) as pool:
        return list(pool.map(ask, numbers))


def test_many_are_one_and_each_gets_its_own_answer() -> None:
    batches = []

    def work(numbers: Sequence[int]) -> list[int]:
        batches.append(len(numbers))
        return [number * 2 for number in numbers]

    assert asked(Together(work, threading.Lock()), range(200)) == [number * 2 for number in range(200)]
    assert sum(batches) == 200 and len(batches) < 100


def test_bad_ones_fail_alone() -> None:
    calls = []

    def work(numbers: Sequence[int]) -> list[int]:
        calls.append(numbers)
        if {7, 50} & set(numbers):
            raise ProgramFailed("7 or 50 is among them")
        return list(numbers)

    found = asked(Together(work, threading.Lock(), halves=True), range(100))
    assert [number for number, answer in enumerate(found) if isinstance(answer, ProgramFailed)] == [7, 50]
    assert [answer for answer in found if isinstance(answer, int)] == [number for number in range(100) if number not in (7, 50)]


def test_where_all_fail_it_is_not_tried_with_each_of_them() -> None:
    calls = []

    def work(numbers: Sequence[int]) -> list[int]:
        calls.append(numbers)
        raise ProgramFailed("there is no nft")

    found = asked(Together(work, threading.Lock(), halves=True), range(300))
    assert all(isinstance(answer, ProgramFailed) for answer in found) and len(calls) < 100


@pytest.mark.parametrize("error", [Unreachable("gw does not answer"), ProgramFailed("no")])
def test_what_concerns_all_is_tried_once(error: OpsError) -> None:
    calls = []

    def work(numbers: Sequence[int]) -> list[int]:
        calls.append(numbers)
        raise error

    together: Together[int, int] = Together(work, threading.Lock())
    assert asked(together, range(50)) == [error] * 50 and sum(map(len, calls)) == 50
    together.work = list
    assert together(3) == 3  # and nobody hangs on it afterwards
