"""A terminal as a moving picture: commands are run and recorded, and the recording becomes an animated SVG.

    python docs/terminal.py record docs/pictures/run.cast "python train.py --overwrite" "python sample.py"
    python docs/terminal.py draw docs/pictures/run.cast docs/pictures/run.svg

`record` runs each command in a terminal of its own, of COLUMNS columns, and notes when each byte came, in the format of
asciinema (https://docs.asciinema.org/manual/asciicast/v2/). `draw` plays that on a screen that knows line breaks,
carriage returns and clearing a line, so fast that it takes SECONDS, and writes what every row showed and when. An SVG
whose animation is not played shows the end.
"""

import json
import os
import re
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path

COLUMNS, ROWS = 88, 24
SECONDS, HOLD = 14.0, 7.0  # of play, and of the last picture before it begins again
TYPING = 0.4  # seconds of play between a command's appearance and its start
TICK = 0.25  # seconds of play: what changes sooner is shown once
CELL, LINE, EDGE, BAR = 7.8, 18, 14, 34  # pixels: a letter, a row, the margin, the title
COLOURS = {"paper": "#0d1117", "ink": "#d6dde5", "prompt": "#7ee787", "title": "#8b949e", "frame": "#30363d"}
FONT = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace"
CONTROL = re.compile(r"\x1b\[(\d*)(?:;\d+)*([A-Za-z])|\x1b.|[\r\n]")


def record(path: Path, commands: list[str]) -> None:
    """Run the commands, one after the other, and write what they said, and when, to `path`."""
    header = {"version": 2, "width": COLUMNS, "height": ROWS, "timestamp": int(time.time())}
    events, start = [], time.monotonic()
    for command in commands:
        events.append([time.monotonic() - start, "m", command])  # a marker: here a command was entered
        code = run_in_terminal(command, lambda text: events.append([time.monotonic() - start, "o", text]))
        if code:
            sys.exit(f"{command}: exit code {code}")
    lines = [json.dumps(header), *(json.dumps([round(when, 3), *what]) for when, *what in events)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def run_in_terminal(command: str, hear) -> int:
    """Run `command` in a new terminal, pass on its output as it comes; the exit code."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(ROWS)}
    process = subprocess.Popen(command, shell=True, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    rest = b""
    while True:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                data = os.read(ours, 65536)
            except OSError:  # Linux' word for the other end being closed
                data = b""
            if not data:
                break
            text = (rest + data).decode("utf-8", errors="surrogateescape")
            cut = len(text) - len(text.rstrip("".join(map(chr, range(0xDC80, 0xDD00)))))  # of a letter, its first bytes
            rest = text[len(text) - cut :].encode("utf-8", errors="surrogateescape")
            hear(text[: len(text) - cut])
        elif process.poll() is not None:
            break
    os.close(ours)
    return process.wait()


class Screen:
    """Rows of text, as many as there were lines, and a cursor; a row that is full goes on in the next."""

    def __init__(self, columns: int):
        self.columns, self.rows, self.row, self.column = columns, [""], 0, 0

    def write(self, text: str) -> None:
        end = 0
        for match in CONTROL.finditer(text):
            self._put(text[end : match.start()])
            self._obey(match)
            end = match.end()
        self._put(text[end:])

    def _put(self, text: str) -> None:
        for letter in text:
            if self.column == self.columns:
                self._down()
                self.column = 0
            row = self.rows[self.row].ljust(self.column)
            self.rows[self.row] = row[: self.column] + letter + row[self.column + 1 :]
            self.column += 1

    def _obey(self, match: re.Match) -> None:
        count, kind = int(match[1] or 1), match[2]
        if match[0] == "\r":
            self.column = 0
        elif match[0] == "\n":
            self._down()
        elif kind == "A":
            self.row = max(0, self.row - count)
        elif kind == "D":
            self.column = max(0, self.column - count)
        elif kind == "K":
            self.rows[self.row] = self.rows[self.row][: self.column] if not match[1] else ""

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append("")


@dataclass
class Shown:
    """What stood in a row from `start` until `end`, seconds of play; `end` None: to the end."""

    row: int
    text: str
    start: float
    end: float | None = None


def play(path: Path) -> tuple[list[Shown], list[tuple[float, int]], list[int], float]:
    """(what the rows showed, [(when, rows in use)], rows that hold a command, seconds that the recording took)."""
    header, *events = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    screen, shown, current, heights, commands = Screen(header["width"]), [], {}, [], []
    took = events[-1][0]
    played, due = 0.0, 0.0

    def look(now):
        for row, text in enumerate(screen.rows):
            text = text.rstrip()
            before = current.get(row)
            if before is None or before.text != text:
                if before is not None:
                    before.end = now
                current[row] = Shown(row, text, now)
                shown.append(current[row])
        height = max((row + 1 for row, text in enumerate(screen.rows) if text.strip()), default=1)
        if not heights or heights[-1][1] != height:
            heights.append((now, height))

    for when, kind, text in events:
        now = when / max(1.0, took / SECONDS) + TYPING * len(commands)
        if kind == "m":
            if commands:
                screen.write("\r\n")
            commands.append(screen.row)
            screen.write(f"$ {text}\r\n")
            look(now)
            continue
        screen.write(text)
        if now >= due:
            look(now)
            due = now + TICK
        played = now
    look(played)
    return [part for part in shown if part.text], heights, commands, took


def draw(path: Path, to: Path) -> None:
    """Write the recording at `path` as an animated SVG."""
    shown, heights, commands, took = play(path)
    total = max([when for when, _ in heights] + [part.start for part in shown]) + HOLD
    width, height = COLUMNS * CELL + 2 * EDGE, ROWS * LINE + BAR + EDGE
    pace = took / SECONDS
    title = f"{took:.0f} seconds, shown {pace:.0f} times as fast" if pace >= 1.5 else f"{took:.0f} seconds"
    offsets = [(when, -max(0, rows - ROWS) * LINE) for when, rows in heights]
    moves = [offsets[0], *(new for old, new in pairwise(offsets) if old[1] != new[1])]
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" font-family="{FONT}" font-size="13">',
        f"<title>{escape(path.stem)}: {title}</title>",
        f'<rect width="{width:g}" height="{height:g}" rx="8" fill="{COLOURS["paper"]}" stroke="{COLOURS["frame"]}"/>',
        *(f'<circle cx="{18 + 18 * i}" cy="17" r="5.5" fill="{COLOURS["frame"]}"/>' for i in range(3)),
        f'<text x="{width / 2:g}" y="21" text-anchor="middle" fill="{COLOURS["title"]}">{title}</text>',
        f'<svg x="0" y="{BAR}" width="{width:g}" height="{ROWS * LINE:g}" fill="{COLOURS["ink"]}">',
        f'<g transform="translate(0 {moves[-1][1]})">',
    ]
    if len(moves) > 1:
        values = ";".join(f"0 {offset}" for _, offset in moves)
        times = ";".join(["0", *(f"{when / total:.4f}" for when, _ in moves[1:])])
        out.append(
            f'<animateTransform attributeName="transform" type="translate" values="{values}" keyTimes="{times}" '
            f'calcMode="discrete" dur="{total:.2f}s" repeatCount="indefinite"/>'
        )
    out += [_row(part, total, part.row in commands) for part in shown]
    to.write_text("\n".join([*out, "</g></svg></svg>"]) + "\n", encoding="utf-8")


def _row(part: Shown, total: float, is_command: bool) -> str:
    """A row of text that is there from its start to its end, and for ever where nothing is animated."""
    if part.end is None:
        values, times = "0;1", (0, part.start)
    else:
        values, times = "0;1;0", (0, part.start, part.end)
    if part.start == 0:
        values, times = values.removeprefix("0;"), times[1:]
    times = ";".join(f"{when / total:.4f}".rstrip("0").rstrip(".") for when in times)
    colour = f' fill="{COLOURS["prompt"]}"' if is_command else ""
    visible = "" if part.end is None else ' opacity="0"'
    text = f'<text x="{EDGE}" y="{part.row * LINE + 13}" textLength="{len(part.text) * CELL:g}" xml:space="preserve"'
    animate = f'<animate attributeName="opacity" values="{values}" keyTimes="{times}" calcMode="discrete" '
    animate += f'dur="{total:.2f}s" repeatCount="indefinite"/>'
    if ";" not in values:
        animate = ""
    return f"{text}{colour}{visible}>{escape(part.text)}{animate}</text>"


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["record", path, *commands] if commands:
            record(Path(path), commands)
        case ["draw", path, to]:
            draw(Path(path), Path(to))
        case _:
            sys.exit(__doc__)
