"""What generate() and Generation are called with: values, names and prompts that cannot be."""

import math

import numpy as np
import pytest

from gpt.errors import RunError, UsageError
from gpt.sampling.generate import generate, generate_batch
from tests.support.fake_model import constant, saying

# ---- bad input ----


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    "given",
    [
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"temperature": "hot"},
        {"top_k": -1},
        {"top_k": 2.5},
        {"top_p": 0.0},
        {"top_p": 1.01},
        {"top_p": math.nan},
        {"min_p": -0.1},
        {"min_p": 1.5},
        {"repetition_penalty": 0.0},
        {"repetition_penalty": -1.0},
        {"repetition_penalty": 1e300},
        {"frequency_penalty": 2.1},
        {"presence_penalty": -2.1},
        {"seed": -1},
        {"seed": 1.5},
        {"max_new_tokens": -1},
        {"max_new_tokens": 2.0},
        {"max_new_tokens": True},
    ],
    ids=str,
)
def test_a_value_out_of_range_is_one_clear_line_before_anything_is_generated(given):
    with pytest.raises(UsageError) as caught:
        generate(constant(1.0, 2.0), [0], **given)
    message = str(caught.value)
    assert next(iter(given)) in message and "\n" not in message


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("given", [{"num_samples": 0}, {"logprobs": -1}], ids=str)
def test_a_batch_checks_its_own_values(given):
    with pytest.raises(UsageError, match=next(iter(given))):
        generate_batch(constant(1.0, 2.0), [0], **given)


@pytest.mark.usefixtures("fake")
def test_an_unknown_control_is_named():
    with pytest.raises(TypeError, match="topk"):
        generate(constant(1.0, 2.0), [0], topk=5)


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([], "empty"),
        ([0, 2], "token id 2"),
        ([-1], "token id -1"),
        ([0.0], "whole numbers"),
        ([[[0, 1]]], "flat"),
        ([[0], []], "empty"),
        ([[0], [5]], "token id 5"),
        ("hello", "flat|whole"),
        ([0, [1]], "flat"),
        ([["a"]], "whole"),
    ],
)
def test_a_prompt_that_is_not_ids_is_refused(ids, message):
    with pytest.raises(UsageError, match=message):
        generate(constant(1.0, 2.0), ids)


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_scores_that_are_not_finite_stop_it(bad, temperature):
    with pytest.raises(RunError, match="not finite"):
        list(generate(constant(1.0, bad, 0.0), [0], temperature=temperature))


# As a Python user calls it


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"do_sample": True}, "generate has no parameter do_sample: temperature=0 takes the likeliest token"),
        ({"max_length": 5}, "generate has no parameter max_length: max_new_tokens counts"),
        ({"temprature": 1}, r"generate has no parameter temprature: did you mean temperature\?"),
        ({"num_samples": 4}, r"no parameter num_samples: generate_batch\(\.\.\., num_samples=N\)"),
        ({"logprobs": 2}, r"no parameter logprobs: generate_batch"),
        ({"beams": 4}, "generate has no parameter beams: there are repetition_penalty, "),
    ],
)
def test_unknown_parameters_get_a_suggestion(wrong, message):
    with pytest.raises(TypeError, match=message):
        generate(constant(0.0, 1.0), [0], **wrong)


def test_messages_name_parameters_not_flags():
    with pytest.raises(UsageError, match=r"^temperature must be at least 0, not -1"):
        generate(constant(0.0, 1.0), [0], temperature=-1)


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("eos", [2, [2], (0, 2), np.int64(2)])
def test_a_sample_ends_after_eos(eos):
    assert list(generate(saying([1, 1, 2, 1], 4), [3], eos_id=eos, temperature=0)) == [1, 1, 2]
    batch = generate_batch(saying([1, 2, 1], 4), [3], 5, num_samples=2, eos_id=eos, temperature=0)
    assert [[token.id for token in step] for step in batch] == [[1, 1], [2, 2]]


@pytest.mark.parametrize("eos", [-1, 4, "a", True, [1, 9], 1.5, [None]])
def test_an_eos_that_is_no_id_is_refused(eos):
    with pytest.raises(UsageError, match="eos_id must be an id of the vocabulary, 0 to 3"):
        generate(saying([1, 1], 4), [3], eos_id=eos)


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("kind", ["tuples", "ranges", "tensors", "a tensor"])
def test_several_prompts_may_be_of_any_kind(kind):
    torch = pytest.importorskip("torch")
    tensors = [torch.tensor([0, 1]), torch.tensor([0])]
    kinds = {"tuples": ((0, 1), (0,)), "ranges": [range(2), range(1)], "tensors": tensors, "a tensor": tensors[0][None]}
    made = list(generate(saying([1, 2], 4), kinds[kind], 2, temperature=0))
    assert made == ([[2], [1]] if kind == "a tensor" else [[2, 1], [1, 2]])
