"""What the decoding benchmark makes of its rounds."""

import io
import json

import pytest

from benchmarks import decoding
from gpt.errors import RunError


def round_of(seconds: float, **more) -> dict:
    return {"seconds": seconds, "memory": 1 + seconds, "GB_per_s": 1 / seconds} | more


def test_ratios_are_those_of_one_round():
    results = {
        decoding.OURS: [round_of(0.02), round_of(0.2)],  # a disturbance that all contenders of a round share
        decoding.PRODUCTS: [round_of(0.01), round_of(0.1)],
        decoding.STREAMED: [round_of(0.005), round_of(0.05)],
        decoding.PROMPTS: [round_of(0.001, forward=0.002), round_of(0.01, forward=0.02)],
        decoding.THEIRS: [round_of(0.03), round_of(0.3)],
    }
    figures = decoding.summary(results)
    assert figures[decoding.OURS]["tokens_per_s"][1] == pytest.approx((50 + 5) / 2)
    assert figures[decoding.OURS]["memory"] == pytest.approx(1.2)
    expected = {"products": 2, "streams": 4, "forward pass": 0.5, "Hugging Face": 1.5}
    for name, ratio in expected.items():
        (found,) = (values for label, values in figures["ratios"].items() if name in label and "GB" not in label)
        assert found == pytest.approx([ratio] * 3)


class Process:
    """One that answers each line with its next time."""

    def __init__(self, times):
        self.times, self.stdin, self.stdout, self.waited = iter(times), io.StringIO(), self, False

    def readline(self):
        return next((json.dumps({"seconds": t, "memory": 1.0, "GB_per_s": 1.0}) + "\n" for t in self.times), "")

    def wait(self):
        self.waited = True


@pytest.fixture
def processes(monkeypatch):
    made = []

    def start(times):
        queue = iter(times)
        monkeypatch.setattr(decoding.subprocess, "Popen", lambda *a, **k: made.append(Process(next(queue))) or made[-1])
        monkeypatch.setattr(decoding, "busy", lambda: 0.5)
        return made

    return start


def test_rounds_go_on_until_the_spread_is_small(processes):
    made = processes([[9.0, *[1.0] * 50], [9.0, *[1.0, 2.0] * 25]])
    found = decoding.measure("gpt2", 5, [decoding.OURS, decoding.PRODUCTS], None)
    assert found["unsteady"] == [decoding.PRODUCTS] and found["busy"] == [0.5, 0.5]
    assert [len(runs) for runs in found["results"].values()] == [15, 15], "three times as many, and not the first"
    assert all(process.waited and process.stdin.closed for process in made)


def test_a_process_that_ends_early_ends_the_others_too(processes):
    made = processes([[1.0] * 50, [1.0] * 3])
    with pytest.raises(RunError, match=r"^the process for products ended early$"):
        decoding.measure("gpt2", 5, [decoding.OURS, decoding.PRODUCTS], None)
    assert all(process.waited for process in made)


def test_hugging_face_is_given_the_same_shape():
    *_, settings = decoding.command_of(decoding.THEIRS, "smollm2", "python")
    shape = json.loads(settings)["shape"]
    assert (shape["num_attention_heads"], shape["num_key_value_heads"], shape["intermediate_size"]) == (9, 3, 1536)
    assert decoding.SHAPES["smollm2"].kv_heads == 3 and decoding.SHAPES["gpt2"].tie_weights
