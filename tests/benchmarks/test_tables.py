"""What the benchmarks print of measurements: no figure without its percentiles, no table without the load."""

from dataclasses import replace

import pytest

from benchmarks import ablations, page, sample_speed, scaling
from benchmarks.contenders.spread import Spread
from gpt.config.options import TrainConfig


def figures(ms, cpu=50.0):
    spread = (0.9 * ms, ms, 1.1 * ms)
    return {"ms": ms, "spread": spread, "cpu_ms": (cpu, cpu, 1.2 * cpu), "tokens_per_s": 1e3, "peak_mb": 100}


def test_efficiency_has_what_the_percentiles_of_both_make_of_it():
    ranks = figures(25) | {"exchange": (0.01, 0.02, 0.03), "waiting": (0.0, 0.05, 0.3)}
    kinds = {"1 thread": figures(40), "2 threads": figures(20), "2 ranks": ranks}
    text = scaling.scaling_table("article", {"kinds": kinds, "unsteady": ["2 ranks"], "busy": [0.1, 0.6]}, 2)
    assert "| 2 threads | 20.0 (18.0 to 22.0) | 50.0 (50.0 to 60.0) | 1,000 | 1.00 (0.82 to 1.22) | 100 |" in text
    assert "| 1 thread | 40.0 (36.0 to 44.0) | 50.0 (50.0 to 60.0) | 1,000 | 1 | 100 |" in text
    assert "2.0% (1.0% to 3.0%) is the exchange, 5.0% (0.0% to 30.0%) waiting for the other" in text
    assert "NOT STEADY: 2 ranks" in text and text.rstrip().endswith("busy to 10% before and 60% after")


def test_all_reduces_have_their_percentiles_beside_the_model():
    us = {4 << i: Spread(0.9, 1.0, 1.5).times(10 * 2**i) for i in range(5)}
    text, fitted = scaling.fit_table({"us": us, "unsteady": [], "busy": [0.0, 0.0]}, 2)
    assert "| 4 | 10.0 (9.0 to 15.0) |" in text and "all timings are steady" in text and "busy to 0% before" in text
    assert fitted.keys() == {"alpha", "bandwidth"}


def test_rates_are_those_of_the_percentiles_of_times():
    assert sample_speed.rate(Spread(100.0, 200.0, 400.0)) == "5,000 (2,500 to 10,000)"


def test_a_page_has_a_column_for_each_precision():
    columns = {
        "float32": {"first paint, ms": "88.0 (80.0 to 99.0)"},
        "float16": {"first paint, ms": "90.0 (80.0 to 99.0)"},
    }
    assert page.table("tales", columns).splitlines() == [
        "| tales | float32 | float16 |",
        "|---|---|---|",
        "| first paint, ms | 88.0 (80.0 to 99.0) | 90.0 (80.0 to 99.0) |",
    ]


@pytest.fixture
def fake_steps(monkeypatch):
    """Steps whose processor time is what their side says, and no time at all in truth."""
    clock = [0.0]

    class Trainer:
        def __init__(self, config):
            self.cost = config.lr

        def train_step(self):
            clock[0] += self.cost

    monkeypatch.setattr(ablations, "trainer_of", lambda variant, config, data: Trainer(config))
    monkeypatch.setattr(ablations.time, "process_time", lambda: clock[0])
    monkeypatch.setattr(ablations, "busy", lambda: 0.5)


def test_the_recipe_and_a_variant_take_turns(fake_steps):
    config = TrainConfig(max_steps=5)
    sides = {name: (ablations.Variant(), replace(config, lr=lr)) for name, lr in (("the recipe", 0.2), ("dear", 0.3))}
    found = ablations.step_times(sides, None)
    assert found["unsteady"] == [] and found["busy"] == [0.5, 0.5]
    assert {name: round(spread.median) for name, spread in found["ms"].items()} == {"the recipe": 200, "dear": 300}
