"""What is read off the curves."""

import pytest

from benchmarks.time_to_loss import CONTENDERS, RACES, cell, draw, first_below, main, table


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
    races = [{name: curve((1, 0.0, 4.0), (101, 5.0 + seed, 1.5)) for name in names} for seed in range(2)]
    lines = table(races, text).splitlines()
    assert lines[0] == f"| validation loss | {' | '.join(names)} |"
    assert lines[-1].startswith("| at the end | 1.500 (1.500 to 1.500), 55.0 ms a step |")
    draw(races, text, tmp_path / "loss.png")
    assert (tmp_path / "loss.png").stat().st_size > 10_000


@pytest.mark.parametrize("name", CONTENDERS)
def test_turns_are_shares_of_a_run(name):
    assert CONTENDERS[name].steps % CONTENDERS[name].turn == 0


def test_no_two_races_have_a_contender_of_one_name():
    assert len(CONTENDERS) == sum(len(race.contenders) for race in RACES.values())


def test_a_contender_of_another_text_is_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["time_to_loss", "--text", "alice", "--only", "modern, 240 steps"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "not a contender on alice: 'modern, 240 steps'" in capsys.readouterr().err
