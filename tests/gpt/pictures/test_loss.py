import contextlib

import numpy as np
import pytest

from gpt.pictures import figure
from gpt.pictures import loss as module
from gpt.pictures.loss import draw_loss, labels
from tests.support.marks import slow
from tests.support.tiny_runs import make_up


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, as they are when they go to disk, with the titles and captions asked for."""
    seen = []

    @contextlib.contextmanager
    def picture(path, title, caption, *size, **more):
        with figure.picture(path, title, caption, *size, **more) as (fig, letters):
            yield fig, letters
            seen.append((fig, title, caption))

    monkeypatch.setattr(module, "picture", picture)
    return seen


def lines(val, bits=None):
    found = [{"step": 1, "loss": 4.0, "lr": 1e-4}]
    for i, loss in enumerate(val, 1):
        line = {"step": 10 * i, "loss": 2.0, "lr": 1e-4, "train_loss": 2.0 - 0.1 * i, "val_loss": loss}
        found.append(line | ({"val_bits_per_byte": loss * bits} if bits and loss else {}))
    return found


def star(axes):
    (line,) = [line for line in axes.lines if line.get_marker() == "*"]
    return float(line.get_xdata()[0]), float(line.get_ydata()[0])


def test_the_gap_is_shaded_and_the_best_step_marked(tmp_path, figures):
    draw_loss([make_up(tmp_path / "run", lines([2.2, 1.9, 2.1]))], tmp_path / "loss.png")
    ((fig, title, caption),) = figures
    above, below = fig.axes
    assert star(above) == (20.0, 1.9)
    (shade,) = above.collections
    corners = {(round(x, 6), round(y, 6)) for x, y in shade.get_paths()[0].vertices}
    assert {(10, 1.9), (10, 2.2), (20, 1.8), (20, 1.9), (30, 1.7), (30, 2.1)} <= corners
    assert below.lines[0].get_ydata().tolist() == [1e-4] * 4 and below.get_ylabel() == "learning rate"
    assert title == "Loss of run" and "What to look for" in caption
    assert {text.get_text() for text in above.get_legend().get_texts()} >= {"training", "validation", "gap"}


@pytest.mark.parametrize("val", [[], slow([2.0]), slow([None, None]), slow([2.0, None, 1.0]), [1e6, 2.0]])
def test_whatever_was_measured_can_be_drawn(tmp_path, val, figures):
    draw_loss([make_up(tmp_path / "run", lines(val))], tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    low, high = figures[0][0].axes[0].get_ylim()
    assert np.isfinite([low, high]).all() and high < 100


def test_the_whole_way_down_is_shown(tmp_path, figures):
    draw_loss([make_up(tmp_path / "run", lines([0.5, 0.1, 0.01, 0.01, 0.01, 0.01]))], tmp_path / "loss.png")
    assert figures[0][0].axes[0].get_ylim()[1] >= 4.0


def test_one_line_of_metrics_is_enough(tmp_path):
    draw_loss([make_up(tmp_path / "run", lines([])[:1])], tmp_path / "loss.png")


def test_runs_are_compared_in_nats_where_their_tokens_are_the_same(tmp_path, figures):
    runs = [make_up(tmp_path / name, lines(val, 0.5)) for name, val in (("a", [2.2, 1.9]), ("b", [2.4, 2.1]))]
    draw_loss(runs, tmp_path / "compared.png")
    ((fig, _, caption),) = figures
    (axes,) = fig.axes
    assert "nats" in axes.get_ylabel() and "bits" not in caption
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["a: best 1.900 at step 20", "b: best 2.100 at step 20"]


def test_runs_are_compared_in_bits_a_byte_where_their_tokens_differ(tmp_path, figures):
    char = make_up(tmp_path / "char", lines([1.2, 1.0], 1.44))
    bpe = make_up(tmp_path / "bpe", lines([2.6, 2.4], 0.5))
    draw_loss([char, bpe], tmp_path / "compared.png")
    ((fig, _, caption),) = figures
    (axes,) = fig.axes
    assert "bits a byte" in axes.get_ylabel() and "different tokens" in caption
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["char: best 1.440 at step 20", "bpe: best 1.200 at step 20"]


def test_runs_that_have_not_measured_bytes_are_compared_in_nats(tmp_path, figures):
    runs = [make_up(tmp_path / "a", lines([1.2], 1.44)), make_up(tmp_path / "b", lines([2.6]))]
    draw_loss(runs, tmp_path / "compared.png")
    assert "nats" in figures[0][0].axes[0].get_ylabel()


def test_names_are_as_long_as_they_need_to_be():
    assert labels(["out/a", "out/b"]) == ["a", "b"]
    assert labels(["one/run", "two/run"]) == ["one/run", "two/run"]
    assert labels(["out/a"]) == ["a"]


def legend(axes) -> set[str]:
    found = axes.get_legend()
    return {text.get_text() for text in found.get_texts()} if found else set()


def test_a_loss_that_falls_far_is_drawn_on_a_logarithmic_axis(tmp_path, figures):
    far = [{"step": 0, "train_loss": 6.0, "val_loss": 6.0}, *lines([2.2, 0.3, 0.25])]
    draw_loss([make_up(tmp_path / "far", far)], tmp_path / "far.png")
    draw_loss([make_up(tmp_path / "near", lines([2.2, 1.9, 1.8]))], tmp_path / "near.png")
    (far, near) = (fig.axes[0] for fig, *_ in figures)
    assert far.get_yscale() == "log" and "logarithmic" in far.get_ylabel()
    assert near.get_yscale() == "linear" and near.get_ylabel() == "loss (nats a token)"
    low, high = far.get_ylim()
    assert 0.1 < low < 0.25 and 6.0 < high < 10.0
    validation = next(line for line in far.lines if line.get_label() == "validation")
    assert validation.get_xdata()[0] == 0 and validation.get_ydata()[0] == 6.0


def test_the_legend_names_what_is_drawn(tmp_path, figures):
    draw_loss([make_up(tmp_path / "none", lines([]))], tmp_path / "none.png")
    draw_loss([make_up(tmp_path / "one", lines([2.0]))], tmp_path / "one.png")
    none, one = (legend(fig.axes[0]) for fig, *_ in figures)
    assert none == {"training, single batches"}
    assert one == {"training, single batches", "training", "validation", "best step 10: 2.000"}


def test_steps_are_whole_on_the_axis(tmp_path, figures):
    measured = [{"step": step, "loss": 4.0, "lr": 1e-4} for step in (1, 2)]
    draw_loss([make_up(tmp_path / "run", measured)], tmp_path / "loss.png")
    axis = figures[0][0].axes[1].xaxis
    assert all(tick == int(tick) for tick in axis.get_ticklocs())


def test_runs_of_different_texts_are_not_said_to_compare(tmp_path, figures):
    tales, alice = (make_up(tmp_path / name, lines([2.0]), data=(name,)) for name in ("tales", "alice"))
    again = make_up(tmp_path / "again", lines([2.1]), data=("known:tales",))
    draw_loss([tales, alice], tmp_path / "different.png")
    draw_loss([tales, again], tmp_path / "same.png")
    (_, _, different), (_, _, same) = figures
    assert "different texts" in different and "predicts unseen text better" not in different
    assert "different texts" not in same and "predicts unseen text better" in same
