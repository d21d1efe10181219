"""The samples at the end of a run: watched, and ended by Ctrl-C without losing what comes after them."""

from types import SimpleNamespace

from gpt.training import progress
from gpt.training.progress import watched_samples
from gpt.training.signals import Interrupted
from tests.support.tiny_training import train


def test_steps_come_through_as_they_are(capfd):
    assert list(watched_samples(iter(range(5)), 5)) == list(range(5))
    assert capfd.readouterr() == ("", ""), "off a terminal quick samples say nothing"


def test_slow_samples_say_how_far_they_are_by_their_pace_of_late(monkeypatch, capsys):
    times = iter([0, 30, 50, 160, 170, 270, 330])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(times)))
    assert len(list(watched_samples(iter(range(6)), 6))) == 6
    assert capsys.readouterr().out.splitlines() == [
        "samples: 1 of 6 tokens, about 2 min left; Ctrl-C ends them",  # 5 of 30 s
        "samples: 3 of 6 tokens, about 3 min left; Ctrl-C ends them",  # 3 of 65 s
    ]


def test_ctrl_c_ends_the_samples_and_nothing_else(workplace, monkeypatch, capsys):
    watched = progress.watched_samples

    def interrupted(steps, n_tokens):
        def until_the_third():
            for number, step in enumerate(steps):
                if number == 3:
                    raise Interrupted(2)
                yield step

        return watched(until_the_third(), n_tokens)

    monkeypatch.setattr("gpt.training.summary.watched_samples", interrupted)
    assert train(sample_tokens=10) == 0
    said = capsys.readouterr().out
    assert "the samples end here, as asked" in said and "diagnosis:" in said and "the run is in" in said
