"""Runs what touches a learner's file in a process of its own, with a time limit: no file can stop the command."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIMIT = 30  # seconds, for one check


def run_child(module: str, *arguments: str, limit: float = LIMIT) -> dict:
    """What `python -m module … RESULT` leaves in RESULT as JSON; a "problem" where it leaves nothing."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-m", module, *arguments, str(result)]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        settings = {"PYTHONPATH": path, "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1", **threads}
        try:
            done = subprocess.run(command, env=os.environ | settings, timeout=limit, check=False, **quiet)
        except subprocess.TimeoutExpired:
            return {"ok": False, "problem": "time", "values": {"seconds": f"{limit:g}"}}
        try:
            return json.loads(result.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {"ok": False, "problem": "ended", "values": {"how": f"exit code {done.returncode}"}}
