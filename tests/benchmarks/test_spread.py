"""Ratios that cannot be fooled by a slow moment: made-up timings, and what is said of them."""

import pytest

from benchmarks import train_speed
from benchmarks.contenders.spread import (
    MOST,
    Spread,
    busy,
    conditions,
    ratio,
    share,
    unsteady_among,
    until_steady,
    verdict,
)


def test_percentiles_and_words():
    spread = Spread.of([10.0] * 8 + [12.0, 30.0])
    assert (spread.low, spread.median) == (10.0, 10.0) and 12 < spread.high < 30 and not spread.steady
    assert (
        str(Spread(1.0, 1.234, 2.0)) == "1.23 (1.00 to 2.00)"
        and str(Spread(37.2, 39.04, 44.0)) == "39.0 (37.2 to 44.0)"
    )
    assert Spread.of([5.0]).steady
    assert Spread(1.0, 2.0, 3.0).times(2) == Spread(2.0, 4.0, 6.0)


def test_a_slow_moment_of_one_shows_in_the_ratio():
    calm, slow = Spread.of([10.0] * 20), Spread.of([12.0] * 10 + [120.0] * 11)
    assert ratio(slow, calm) == "12.00 (1.20 to 12.00)"


def test_measuring_goes_on_until_it_is_steady():
    found, rounds = {"a": [], "b": []}, []

    def measure(values):
        def once():
            rounds.append(1)
            for name, timing in next(values).items():
                found[name].append(timing)

        return once

    noisy_first = iter([{"a": 1.0, "b": 1.0}, {"a": 9.0, "b": 1.0}, *[{"a": 1.0, "b": 1.0}] * 50])
    assert until_steady(measure(noisy_first), lambda: found, 5) == []
    assert 5 < len(rounds) < MOST * 5
    found, rounds = {"a": [], "b": []}, []
    assert until_steady(measure(iter([{"a": 1.0, "b": 1.0 + i % 2} for i in range(99)])), lambda: found, 3) == ["b"]
    assert len(rounds) == MOST * 3
    found, rounds = {"a": []}, []
    assert until_steady(measure(iter([{"a": 2.0}] * 9)), lambda: found, 3) == [] and len(rounds) == 5
    found, rounds = {"a": []}, []
    assert until_steady(measure(iter([{"a": 2.0}] * 9)), lambda: found, 1) == ["a"] and len(rounds) == 3


def test_the_verdict():
    assert verdict([]).startswith("all timings are steady") and verdict(["x", "y"]).startswith("NOT STEADY: x, y:")
    assert unsteady_among({"few": [1.0] * 4, "apart": [1.0] * 3 + [2.0] * 3, "fine": [1.0] * 5}) == ["few", "apart"]


def test_conditions_name_what_is_not_steady_and_each_load():
    text = conditions(["x"], [0.1, None], [0.2, 0.3])
    assert text.startswith("NOT STEADY: x:")
    assert text.endswith("the machine was busy to 10%, an unknown share before and 20%, 30% after")


def test_how_busy_a_machine_is(tmp_path, monkeypatch):
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 0 50 800 50 0 0 0 0 0\n")

    def later(seconds):
        stat.write_text("cpu  130 0 60 850 60 0 0 0 0 0\n")

    monkeypatch.setattr("benchmarks.contenders.spread.time.sleep", later)
    assert busy(stat=stat) == pytest.approx(0.4)
    assert busy(stat=tmp_path / "nothing") is None and share(None) == "an unknown share" and share(0.414) == "41%"


def test_a_table_has_percentiles_a_verdict_and_the_load():
    def figures(ms):
        return {"ms": ms, "low_ms": 0.9 * ms, "high_ms": 1.1 * ms, "peak_mb": 100, "tokens_per_s": 1e3, "steps": 9}

    result = {
        "kinds": {"nanograd": figures(40), "torch sdpa": figures(48)},
        "unsteady": ["torch sdpa"],
        "busy": [0.0, 0.5],
    }
    text = train_speed.table("article", result)
    assert "| nanograd | 40.0 (36.0 to 44.0) |" in text and "fastest torch / ours 1.20 (0.98 to 1.47)" in text
    assert "NOT STEADY: torch sdpa" in text and "busy to 0% before and 50% after" in text
