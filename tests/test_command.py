"""How nanograd's own commands end."""

import sys

import pytest

from nanograd.command import run


def interrupted(arguments):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [(interrupted, 130, "interrupted\n"), (lambda arguments: 0, 0, ""), (lambda arguments: len(arguments), 2, "")],
)
def test_the_exit_code_and_what_is_said(command, code, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["command", "--json", "--seed=1"])
    with pytest.raises(SystemExit) as stop:
        run(command)
    assert (stop.value.code, capsys.readouterr().err) == (code, said)
