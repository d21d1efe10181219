"""benchmarks.operations: every operation that it names is found, and the parts are no more than the whole."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json
from benchmarks.operations import measure
clock, total = measure("SHAPE", 2)
print(json.dumps([clock.ms, clock.calls, total]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "missing"), [("article", "gelu"), ("nanogpt-cpu", "relu")])
def test_times_of_all_operations(shape, missing):
    """In a process of its own, as what it wraps stays wrapped."""
    command = [sys.executable, "-c", SCRIPT.replace("SHAPE", shape)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    ms, calls, total = json.loads(done.stdout)
    for name in ("matrix products", "normalize", "masked_exp", "finish_branch", "scatter_add_rows", "adamw_update"):
        assert ms[name] > 0 and calls[name] > 0, name
    assert missing not in calls and 0 < sum(ms.values()) < 1.05 * total
