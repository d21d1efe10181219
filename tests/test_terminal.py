"""docs/terminal.py: a recorded terminal as a picture that moves."""

import json
import sys
import xml.etree.ElementTree as xml

import pytest

from tests.support import ROOT

sys.path.insert(0, str(ROOT / "docs"))
import terminal


def test_the_screen_obeys_returns_and_clears_lines():
    screen = terminal.Screen(6)
    screen.write("10 %\r20 %\r\n")
    screen.write("wait\r\x1b[Kdone\r\nabcdefgh")
    assert screen.rows == ["20 %", "done", "abcdef", "gh"]
    screen.write("\x1b[A\rX\x1b[31m")
    assert screen.rows[2] == "Xbcdef"
    screen.write("\x1b[1D\x1b[K")
    assert screen.rows[2] == ""


def test_a_recording_becomes_a_picture(tmp_path):
    events = [[0.0, "m", "go"], [1.0, "o", "a < b\r\n"], [30.0, "o", "50 %\r"], [60.0, "o", "100 %\r\n"]]
    events += [[60.0, "o", f"{number}\r\n"] for number in range(30)]
    lines = [{"version": 2, "width": 80, "height": 24}, *events]
    (tmp_path / "x.cast").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    terminal.draw(tmp_path / "x.cast", tmp_path / "x.svg")
    root = xml.parse(tmp_path / "x.svg").getroot()
    texts = {text.text: text for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"$ go", "a < b", "50 %", "100 %", "29", "60 seconds, shown 4 times as fast"} <= set(texts)
    assert texts["50 %"].get("opacity") == "0" and texts["100 %"].get("opacity") is None, "the end, where none moves"
    (animation,) = texts["50 %"]
    start, end = map(float, animation.get("keyTimes").split(";")[1:])
    assert 0 < start < end < 1 and animation.get("values") == "0;1;0"


@pytest.mark.skipif(sys.platform == "win32", reason="has no such terminals")
def test_a_command_is_recorded_in_a_terminal(tmp_path):
    terminal.record(tmp_path / "x.cast", [f"{sys.executable} -c 'import os; print(os.get_terminal_size().columns)'"])
    header, command, *output = map(json.loads, (tmp_path / "x.cast").read_text().splitlines())
    assert header["width"] == terminal.COLUMNS and command[1] == "m"
    assert "".join(text for _, _, text in output) == f"{terminal.COLUMNS}\r\n"
    with pytest.raises(SystemExit, match="exit code 3"):
        terminal.record(tmp_path / "y.cast", ["exit 3"])


def test_the_picture_of_the_readme_is_of_its_recording(tmp_path):
    terminal.draw(ROOT / "docs/pictures/run.cast", tmp_path / "run.svg")
    assert (tmp_path / "run.svg").read_bytes() == (ROOT / "docs/pictures/run.svg").read_bytes()
