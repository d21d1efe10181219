"""What the decoding benchmark makes of its rounds."""

import json

import pytest

from benchmarks import decoding


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


def test_hugging_face_is_given_the_same_shape():
    *_, settings = decoding.command_of(decoding.THEIRS, "smollm2", "python")
    shape = json.loads(settings)["shape"]
    assert (shape["num_attention_heads"], shape["num_key_value_heads"], shape["intermediate_size"]) == (9, 3, 1536)
    assert decoding.SHAPES["smollm2"].kv_heads == 3 and decoding.SHAPES["gpt2"].tie_weights
