"""What a learner has done so far, in one small file: my_layers/progress.json.

{"exercises": {"relu": {"started": 1764300000, "solved": 1764300300, "checks": 2, "hints": 1, "gave_up": false}},
 "bug": {"exercise": "layernorm", "mistake": 0, "level": 1, "seed": 5}, "found": 3}
"""

import json
import time
from pathlib import Path

from exercises.catalog import NAMES, exercise, real_mistakes
from exercises.words import labelled, say
from gpt.errors import RunError
from gpt.files import write_text

FOLDER = Path("my_layers")


class Progress:
    """Reads the file, and writes it after each change. Raises RunError for a file that is damaged."""

    def __init__(self, folder: Path = FOLDER, lang: str = "en"):
        self.folder, self.path = folder, folder / "progress.json"
        self.exercises, self.bug, self.found = {}, None, 0
        if self.path.exists():
            try:
                held = json.loads(self.path.read_text(encoding="utf-8"))
                self.exercises = {name: whole_entry(entry) for name, entry in dict(held["exercises"]).items()}
                self.bug, self.found = held["bug"] and whole_bug(held["bug"]), int(held["found"])
            except (ValueError, KeyError, TypeError, OverflowError):
                raise labelled(RunError(say("damaged", lang, path=self.path)), lang) from None

    def entry(self, name: str) -> dict:
        return self.exercises.setdefault(name, whole_entry({"started": int(time.time())}))

    def save(self) -> None:
        self.folder.mkdir(exist_ok=True)
        held = {"exercises": self.exercises, "bug": self.bug, "found": self.found}
        write_text(self.path, json.dumps(held, indent=1) + "\n")

    def is_solved(self, name: str) -> bool:
        return bool(self.exercises.get(name, {}).get("solved"))

    def state(self, name: str) -> str:
        """A key of messages.toml: new, started, solved or given_up."""
        entry = self.exercises.get(name)
        if entry is None:
            return "new"
        return "solved" if entry.get("solved") else "given_up" if entry.get("gave_up") else "started"

    def seconds(self, name: str) -> int:
        """From the start to the first right check; 0 where there is none."""
        entry = self.exercises.get(name, {})
        return max(0, entry["solved"] - entry["started"]) if entry.get("solved") else 0


def whole_entry(held: dict) -> dict:
    """An exercise's entry with all its fields. Raises what Progress takes for damage."""
    solved = held.get("solved")
    return {
        "started": int(held["started"]),
        "solved": None if solved is None else int(solved),
        "checks": int(held.get("checks", 0)),
        "hints": int(held.get("hints", 0)),
        "gave_up": bool(held.get("gave_up", False)),
    }


def whole_bug(held: dict) -> dict:
    """The same for the planted mistake that is being looked for."""
    name = held["exercise"]
    exercise_of = exercise(name) if name in NAMES or name in real_mistakes() else None
    if exercise_of is None or not 0 <= held["mistake"] < len(exercise_of.mistakes):
        raise ValueError("no such mistake")
    return {"exercise": name, **{key: int(held[key]) for key in ("mistake", "level", "seed")}}


def duration(seconds: int) -> str:
    """12:34, or 1:02:03 with hours."""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
