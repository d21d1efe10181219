import math
import xml.etree.ElementTree as ElementTree

import pytest

from gpt.notebook.curve import HEIGHT, WIDTH, LossCurve, log_ticks, ticks

LINES = [
    {"step": 1, "loss": 6.0},
    {"step": 10, "loss": 3.0, "train_loss": 3.1, "val_loss": 3.2},
    {"step": 20, "loss": math.nan},
    {"step": 30, "loss": 1.5, "train_loss": 1.6, "val_loss": 2.4},
]


def parsed(curve):
    return ElementTree.fromstring(curve.svg())


def test_a_curve_has_a_line_for_each_kind_of_loss_and_no_point_outside():
    paths = [path for path in parsed(LossCurve(LINES)).findall(".//{*}path") if path.get("d").count("L")]
    assert [path.get("d").count("L") + 1 for path in paths] == [3, 2, 2], "the loss that is NaN is no point"
    for path in paths:
        for point in path.get("d")[1:].split("L"):
            x, y = map(float, point.split())
            assert 0 < x < WIDTH and 0 < y < HEIGHT


def test_a_lower_loss_lies_lower_and_a_later_step_further_right():
    (batches, *_) = [path.get("d") for path in parsed(LossCurve(LINES)).findall(".//{*}path") if "L" in path.get("d")]
    points = [tuple(map(float, point.split())) for point in batches[1:].split("L")]
    assert points == sorted(points), "x grows, and y, which counts downwards, grows as the loss falls"


@pytest.mark.parametrize("lines", [[], LINES[:1], [{"step": 5, "val_loss": 0.0}], [{"step": 1, "loss": 1e9}]])
def test_a_curve_of_next_to_nothing_can_be_drawn(lines):
    assert parsed(LossCurve(lines)).tag.endswith("svg")


def test_both_languages_and_no_third():
    assert "验证损失" in LossCurve(LINES, "zh").svg() and "validation" in LossCurve(LINES).svg()
    with pytest.raises(ValueError, match="language must be one of en, zh, not 'fr'"):
        LossCurve(language="fr")


def test_a_long_run_stays_a_small_picture_and_keeps_its_last_point():
    curve = LossCurve({"step": step, "loss": 1 + 1 / step} for step in range(1, 100_001))
    assert len(curve.svg()) < 12_000
    (path,) = [path.get("d") for path in parsed(curve).findall(".//{*}path") if "L" in path.get("d")]
    assert path.rpartition("L")[2].startswith(f"{WIDTH - 16:.1f} ")


@pytest.mark.parametrize("last", [0, 1, 2, 7, 12, 60, 99, 100, 1000, 4321, 10**6])
def test_ticks_are_few_whole_and_within(last):
    found = ticks(last)
    assert found[0] == 0 and found[-1] <= last and len(found) <= 7 and len(set(found)) == len(found)
    assert last == 0 or len(found) >= 2


@pytest.mark.parametrize(("low", "high"), [(0.19, 6.5), (5.5, 6.2), (1.0, 1.2), (0.001, 20.0), (2, 2.9), (0.19, 0.21)])
def test_ticks_of_a_logarithmic_axis_are_few_and_within(low, high):
    found = log_ticks(low, high)
    assert 2 <= len(found) <= 12 and all(low <= value <= high for value in found) and found == sorted(set(found))


def test_losses_before_the_first_step_alone_can_be_drawn():
    assert "NaN" not in LossCurve([{"step": 0, "train_loss": 6.2, "val_loss": 6.3}]).svg()
