"""Signals: the first one is heard, the second one ends the process."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from gpt.training.signals import Interrupted, StopRequest, interruptible

SIGNALS = [signal.SIGINT, signal.SIGTERM]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them")


@pytest.fixture(autouse=True)
def handlers_are_given_back():
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    assert [signal.getsignal(number) for number in SIGNALS] == before


def kill(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_request_notes_the_first_signal_and_goes_on(number, capfd):
    with StopRequest() as stop:
        assert stop.signal is None
        kill(number)
        assert stop.signal == number
        assert stop.exit_code == 128 + number
        assert [signal.getsignal(each) for each in SIGNALS] == [signal.SIG_DFL] * 2  # the second one ends it
    assert "a second signal ends it now" in capfd.readouterr().err


@pytest.mark.parametrize("number", SIGNALS)
def test_elsewhere_it_is_an_exception_with_its_exit_code(number):
    with pytest.raises(KeyboardInterrupt, match=f"^interrupted by {number.name}$") as caught, interruptible():
        kill(number)
    assert isinstance(caught.value, Interrupted) and caught.value.exit_code == 128 + number


def test_a_request_inside_gives_back_what_was_outside():
    with pytest.raises(Interrupted), interruptible():
        with StopRequest() as stop:
            kill(signal.SIGTERM)
        assert stop.signal == signal.SIGTERM
        kill(signal.SIGTERM)


def test_another_thread_listens_to_none():
    seen = []

    def listen():
        with interruptible(), StopRequest() as stop:
            seen.append(stop.signal)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [None]


TWICE = """if True:
    import os, signal, sys
    sys.path.insert(0, sys.argv[1])
    from gpt.training.signals import StopRequest
    number = int(sys.argv[2])
    with StopRequest() as stop:
        os.kill(os.getpid(), number)
        assert stop.signal == number
        print("still here", flush=True)
        os.kill(os.getpid(), number)
        print("never")
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_the_second_signal_ends_the_process(number):
    command = [sys.executable, "-c", TWICE, os.getcwd(), str(int(number))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-number, "still here\n")
