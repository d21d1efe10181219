"""What is read off the curves."""

import json

import pytest

from benchmarks.contenders.spread import Spread
from benchmarks.time_to_loss import (
    CONTENDERS,
    RACES,
    Outcome,
    cell,
    draw,
    first_below,
    main,
    ratios,
    read_races,
    table,
)


def curve(*points):
    return [{"steps": steps, "seconds": seconds, "val_loss": loss} for steps, seconds, loss in points]


def test_the_time_to_a_loss_lies_between_evaluations():
    points = curve((1, 0.0, 4.0), (11, 2.0, 3.0), (21, 4.0, 2.0))
    assert first_below(points, 2.5) == (16, 3.0) and first_below(points, 3.0) == (11, 2.0)
    assert first_below(points, 1.9) is None


def test_a_loss_that_rises_again_counts_once():
    assert first_below(curve((1, 0.0, 4.0), (3, 1.0, 2.0), (5, 2.0, 3.0), (7, 3.0, 1.0)), 2.0) == (3, 1.0)


def test_a_cell_says_mean_spread_and_how_many_seeds():
    assert cell([(10, 1.0), (20, 2.0)], 2) == "15 steps, 1.5 s (1.0 to 2.0)"
    assert cell([(10, 1.0)], 3) == "10 steps, 1.0 s; 1 of 3 seeds" and cell([], 3) == ""


@pytest.mark.parametrize("text", RACES)
def test_a_table_and_a_picture_of_what_was_run(tmp_path, text):
    names = list(RACES[text].contenders)[:2]
    curves = [{name: curve((1, 0.0, 4.0), (101, 5.0 + seed, 1.5)) for name in names} for seed in range(2)]
    races = [Outcome(of, 0.02, 0.5) for of in curves]
    lines = table(races, text).splitlines()
    assert lines[0] == f"| validation loss | {' | '.join(names)} |"
    assert lines[8].startswith("| at the end | 1.500 (1.500 to 1.500) |")
    assert lines[9].startswith("| ms a step (10th to 90th percentile) | 55.0 (51.0 to 59.0) |")
    assert lines[11] == f"time to 1.500, {names[0]} / {names[1]}: 1.00 (0.86 to 1.16)"
    assert lines[12].startswith(f"NOT STEADY: {names[0]}, {names[1]}: too few timings")
    assert lines[12].endswith("the machine was busy to 2%, 2% before and 50%, 50% after")
    draw(races, text, tmp_path / "loss.png")
    assert (tmp_path / "loss.png").stat().st_size > 10_000


def test_a_ratio_of_times_to_a_loss_has_what_the_percentiles_make_of_it():
    races = [Outcome({"slow": curve((1, 0.0, 4.0), (101, 9.0, 2.0)), "quick": curve((1, 0.0, 4.0), (41, 9.0, 1.0))})]
    times = {"slow": Spread(9.0, 10.0, 20.0), "quick": Spread(15.0, 20.0, 25.0)}
    steps = 1 + 40 * 2 / 3
    low, middle, high = (101 * a / (steps * b) for a, b in ((9, 25), (10, 20), (20, 15)))
    assert ratios(races, times) == [f"time to 2.000, slow / quick: {middle:.2f} ({low:.2f} to {high:.2f})"]
    races[0].curves["quick"] = curve((1, 0.0, 4.0), (41, 9.0, 3.0))
    assert ratios(races, times) == [], "a loss that was not reached has no time"


def test_races_are_read_back_by_seed_with_their_loads_or_without(tmp_path):
    point = {"steps": 1, "seconds": 0.0, "val_loss": 4.0}
    new = [{"seed": 3, "busy_before": 0.25}, {"seed": 3, "contender": "a"} | point, {"seed": 3, "busy_after": 0.5}]
    files = {"new": new, "cut short": [{"seed": 4, "contender": "a"} | point]}
    for name, lines in files.items():
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    races = read_races([tmp_path / name for name in files])
    assert races == [Outcome({"a": [point]}, 0.25, 0.5), Outcome({"a": [point]}, None, None)]


@pytest.mark.parametrize("name", CONTENDERS)
def test_turns_are_shares_of_a_run(name):
    assert CONTENDERS[name].steps % CONTENDERS[name].turn == 0


def test_no_two_races_have_a_contender_of_one_name():
    assert len(CONTENDERS) == sum(len(race.contenders) for race in RACES.values())


def test_a_contender_of_another_text_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--text", "alice", "--only", "modern, 240 steps"])
    assert stop.value.code == 2
    assert "not a contender on alice: 'modern, 240 steps'" in capsys.readouterr().err
