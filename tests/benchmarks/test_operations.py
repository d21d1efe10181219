"""benchmarks.operations: every operation that it names is found, the parts make the whole, its table has spreads."""

import json
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.operations import PRODUCTS, REST, STEP, Clock, table

SCRIPT = """
import json
from benchmarks import operations
operations.STEPS_A_ROUND = 2
print(json.dumps(operations.measure("SHAPE", 1)))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "missing"), [("article", "gelu"), ("nanogpt-cpu", "relu")])
def test_times_of_all_operations(shape, missing):
    """In a process of its own, as what it wraps stays wrapped."""
    command = [sys.executable, "-c", SCRIPT.replace("SHAPE", shape)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    result = json.loads(done.stdout)
    ms, calls = result["ms"], result["calls"]
    for name in ("matrix products", "normalize", "masked_exp", "finish_branch", "scatter_add_rows", "adamw_update"):
        assert min(ms[name]) > 0 and calls[name] > 0, name
    total = np.array(ms.pop(STEP))
    assert missing not in calls and np.allclose(sum(map(np.array, ms.values())), total)
    assert (np.array(ms[REST]) > 0).all() and len(total) >= 2 and len(result["busy"]) == 2


def test_a_table_has_percentiles_a_ratio_with_its_own_and_the_load():
    ms = {"relu": [1.0] * 9, PRODUCTS: [30.0] * 4 + [36.0] * 5, REST: [3.0] * 9, STEP: [40.0] * 9}
    text = table({"ms": ms, "calls": {"relu": 2, PRODUCTS: 39}, "unsteady": [STEP], "busy": [0.0, None]})
    lines = text.splitlines()
    assert lines[2:5] == [
        "| matrix products | 36.0 (30.0 to 36.0) | 39 | 90.0% |",
        "| relu | 1.00 (1.00 to 1.00) | 2 | 2.5% |",
        "| everything else | 3.00 (3.00 to 3.00) |  | 7.5% |",
    ]
    assert lines[-2] == "a step: 40.0 (40.0 to 40.0) ms; over its matrix products 1.11 (1.11 to 1.33)"
    assert lines[-1].startswith("NOT STEADY: a step:") and lines[-1].endswith("0% before and an unknown share after")


def test_a_clock_hands_over_what_it_has_and_begins_anew():
    clock = Clock()
    clock.ms["a"] += 1.0
    clock.calls["a"] += 2
    assert clock.take() == ({"a": 1.0}, {"a": 2}) and clock.take() == ({}, {})
