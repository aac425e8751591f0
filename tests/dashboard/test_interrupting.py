import os
import signal

import pytest

from ledgent.dashboard.cli.interrupting import ctrl_c_held_back


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_waits_until_it_is_asked_for() -> None:
    before = signal.getsignal(signal.SIGINT)
    done = []

    def work() -> None:
        with ctrl_c_held_back() as check:
            check()
            press()
            done.append("all that was under way")
            check()
            done.append("more")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["all that was under way"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_is_not_held_back() -> None:
    def work() -> None:
        with ctrl_c_held_back():
            press()
            press()

    with pytest.raises(KeyboardInterrupt):
        work()


def test_where_ctrl_c_is_ignored_it_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with ctrl_c_held_back() as check:
            press()
            check()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
