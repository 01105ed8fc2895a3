"""Few hosts at a time, the furthest first, and none that hangs holds the others up."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from opsctl.errors import Interrupted
from opsctl.shells import local
from opsctl.shells.turns import Turns


def test_no_more_than_so_many_work_at_a_time() -> None:
    turns, guard, working, most = Turns(3, patience=60), threading.Lock(), 0, 0
    pause = threading.Event()

    def work(_: int) -> None:
        nonlocal working, most
        with turns.line().turn():
            with guard:
                working, most = working + 1, max(most, working + 1)
            pause.wait(0.01)
            with guard:
                working -= 1

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(work, range(60)))
    assert most == 3


def test_the_furthest_goes_first() -> None:
    turns, order = Turns(1, patience=60), []
    lines = [turns.line() for _ in range(4)]
    for number, line in enumerate(lines):
        for _ in range(number):
            with line.turn():
                pass

    def work(number: int) -> None:
        with lines[number].turn():
            order.append(number)

    with ThreadPoolExecutor(4) as pool:
        with turns.line().turn():
            waiting = [pool.submit(work, number) for number in (1, 3, 0, 2)]
            while len(turns._waiting) < 4:
                pass
        for one in waiting:
            one.result()
    assert order == [3, 2, 1, 0]


def test_who_hangs_no_longer_counts() -> None:
    turns, hang = Turns(1, patience=0.2), threading.Event()

    def work() -> bool:
        with turns.line().turn():
            return hang.wait(60)

    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(work)
        while not turns._working:
            pass
        with turns.line().turn():
            assert not hanging.done(), "it was let in while the other still hung"
            hang.set()
        assert hanging.result(), "it hung until it was told"


def test_who_waits_while_the_run_is_stopped_does_not_begin() -> None:
    turns, begun = Turns(1, patience=60), []

    def work() -> None:
        with turns.line().turn():
            begun.append(1)

    try:
        with ThreadPoolExecutor(1) as pool:
            with turns.line().turn():
                waiting = pool.submit(work)
                while not turns._waiting:
                    pass
                local.stop()
            with pytest.raises(Interrupted):
                waiting.result()
    finally:
        local.reset()
    assert not begun and not turns._working
