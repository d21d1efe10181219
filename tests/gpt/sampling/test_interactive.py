"""`--interactive`: turns, errors that do not end the session, and a real terminal."""

import io
import os
import re
import select
import subprocess
import sys
import time

import pytest

from gpt.sampling import generate as sampling
from gpt.sampling import interactive
from tests.support import ROOT
from tests.support.fake_model import FakeDecoder, saying
from tests.support.small_run import write_run
from tokenizers import CharTokenizer


@pytest.fixture
def session(monkeypatch, capsys):
    """session(typed, ...) -> (exit code, stdout, stderr).

    The model would fill a page with "abc " over and over: after n letters it says letter n of that.
    """
    monkeypatch.setattr(sampling, "Decoder", FakeDecoder)
    tokenizer = CharTokenizer.train("abc .")
    model = saying(tokenizer.encode("abc "), tokenizer.vocab_size)

    def run(typed, text="", max_new_tokens=2, stop=(), **controls):
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        code = interactive.converse(model, tokenizer, text, max_new_tokens, stop, controls)
        return (code, *capsys.readouterr())

    return run


def test_the_model_goes_on_from_what_is_typed_and_then_from_its_own_text(session):
    code, out, _ = session("..\n\n.\n", temperature=0)
    assert (code, out) == (0, "..bc a.c \n")


def test_a_prompt_comes_first(session):
    assert session("\n", text="...", temperature=0)[1] == "...c \n"


def test_a_character_the_tokenizer_does_not_know_is_reported_and_forgotten(session):
    code, out, err = session("好\n.\n", temperature=0)
    assert code == 0 and out == session(".\n", temperature=0)[1]
    assert "error: " in err and "U+597D" in err


def test_stop_strings_end_a_turn(session):
    assert session("..\n", max_new_tokens=20, stop=["a"], temperature=0)[1] == "..bc \n"


def test_the_same_seed_and_lines_give_the_same_session_and_turns_differ(monkeypatch, capsys, tmp_path):
    from gpt.runs.load import load_model

    model, tokenizer, _ = load_model(write_run(tmp_path), "best", "numpy")

    def outputs(seed):
        monkeypatch.setattr(sys, "stdin", io.StringIO("\n\n"))
        interactive.converse(model, tokenizer, "", 30, (), {"seed": seed, "temperature": 1.0})
        return capsys.readouterr().out

    assert outputs(3) == outputs(3) != outputs(4)
    assert outputs(3)[:30] != outputs(3)[30:60]


# Makes its argument the terminal that sends Ctrl-C to what it then becomes.
BEHIND_TERMINAL = """
import os, sys
os.open(sys.argv[1], os.O_RDWR)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a Unix terminal")
def test_on_a_terminal_with_history_and_ctrl_c(tmp_path):
    run = write_run(tmp_path / "run")
    terminal, inside = os.openpty()
    flags = ["--out_dir", str(run), "--interactive", "--backend", "numpy", "--max_new_tokens", "1000000"]
    process = subprocess.Popen(
        [sys.executable, "-c", BEHIND_TERMINAL, os.ttyname(inside), "sample.py", *flags],
        cwd=ROOT,
        env=os.environ | {"TERM": "xterm", "OMP_NUM_THREADS": "1"},
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
    )
    os.close(inside)
    try:
        assert "Ctrl-D ends" in read_until(terminal, "> ")
        os.write(terminal, b"abc\n")
        read_until(terminal, r"abc\r\n.{20}")  # it talks, and would for an hour
        os.write(terminal, b"\x03")  # Ctrl-C stops it
        read_until(terminal, "> ")
        os.write(terminal, b"\x1b[A")  # arrow up
        read_until(terminal, "abc")
        assert press_until_it_ends(b"\x03", terminal, process) == 0  # Ctrl-C at the prompt: the end
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


def press_until_it_ends(key, terminal, process, tries=12):
    """Its exit code. On a busy machine a key may be there before the prompt reads it: it is pressed again."""
    for _ in range(tries):
        os.write(terminal, key)
        try:
            return process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError("it does not end")


def read_until(terminal, pattern, seconds=60):
    """What the terminal shows, up to the first match of `pattern`."""
    seen, end = "", time.monotonic() + seconds
    while not re.search(pattern, seen, re.DOTALL):
        left = end - time.monotonic()
        assert left > 0, f"no {pattern!r} in what ends with {seen[-500:]!r}"
        if select.select([terminal], [], [], left)[0]:
            seen += os.read(terminal, 4096).decode("utf-8", errors="replace")
    return seen
