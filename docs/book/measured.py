"""Results that take too long to compute whenever a page is built: measured once, kept in results/NAME.json.

NAME is that of the function that measures, `module.function` of examples/. The file holds the command that made it, the
date, and what the function returned.
"""

import datetime
import json
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def measured(name: str):
    """What `python docs/book/build.py --measure NAME` found last."""
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        raise LookupError(f"nothing was measured yet; first: python docs/book/build.py --measure {name}")
    return json.loads(path.read_text(encoding="utf-8"))["result"]


def write_measured(name: str, result) -> Path:
    """Keep `result`, of what JSON and NumPy know, as that of `name`."""
    path = RESULTS / f"{name}.json"
    command = f"python docs/book/build.py --measure {name}"
    found = {"command": command, "date": datetime.date.today().isoformat(), "result": result}
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(found, indent=1, ensure_ascii=False, default=lambda array: array.tolist())
    path.write_text(text + "\n", encoding="utf-8")
    return path
