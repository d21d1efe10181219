import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt import GPT, GPTConfig, evaluate
from gpt.data.stories import score, split_tales
from gpt.errors import RunError, UsageError
from gpt.runs.load import load_model, own_data
from nanograd import Device
from tests.support import ROOT
from tests.support.tiny_runs import TALE, train
from tokenizers import CharTokenizer

TOKENIZER = CharTokenizer.train(TALE)
TOKENS = np.array(TOKENIZER.encode(TALE), dtype=np.uint16)


@pytest.fixture
def model(float64):
    return GPT(GPTConfig(TOKENIZER.vocab_size, block_size=8, n_layer=1, n_head=2, n_embd=16), float64).eval()


@given(st.integers(1, 300), st.integers(1, 20), st.data())
def test_windows_count_every_target_once_and_in_order(n_targets, length, data):
    length = min(length, n_targets)
    stride = data.draw(st.integers(1, length))
    counted = [start + i for start, first in evaluate.windows(n_targets, length, stride) for i in range(first, length)]
    assert counted == list(range(n_targets))
    starts = [start for start, _ in evaluate.windows(n_targets, length, stride)]
    assert starts[0] == 0 and starts[-1] + length == n_targets
    assert all(first >= length - stride for _, first in list(evaluate.windows(n_targets, length, stride))[1:])


@pytest.mark.parametrize("stride", [1, 3, 8, None])
def test_loss_is_the_mean_over_tokens_predicted_one_at_a_time(model, stride):
    tokens = TOKENS[:50]
    losses = []
    for start, first in evaluate.windows(49, 8, stride or 8):
        for i in range(first, 8):
            logits, _ = model(tokens[None, start : start + i + 1].astype(int))
            z = logits[0, -1]
            losses.append(np.log(np.exp(z - z.max()).sum()) + z.max() - z[tokens[start + i + 1]])
    found = evaluate.evaluate(model, TOKENIZER, tokens, stride)
    assert len(losses) == found.tokens == 49
    assert found.loss == pytest.approx(np.mean(losses), rel=1e-12)
    assert found.perplexity == pytest.approx(math.exp(found.loss))
    assert found.bytes == len(TOKENIZER.decode(tokens[1:]).encode())
    assert found.bits_per_byte == pytest.approx(found.loss * 49 / math.log(2) / found.bytes)


def test_sums_do_not_depend_on_the_batches(model, monkeypatch):
    whole = evaluate.evaluate(model, TOKENIZER, TOKENS, 3)
    monkeypatch.setattr(evaluate, "LOGITS_AT_ONCE", 1)
    assert evaluate.evaluate(model, TOKENIZER, TOKENS, 3).loss == pytest.approx(whole.loss, rel=1e-13)


def test_float32_logits_are_summed_in_float64():
    config = GPTConfig(TOKENIZER.vocab_size, block_size=8, n_layer=1, n_head=2, n_embd=16)
    models = [GPT(config, Device("numpy", dtype, seed=0)) for dtype in ("float32", "float64")]
    models[1].load_state_dict(models[0].state_dict())
    losses = [evaluate.evaluate(model.eval(), TOKENIZER, np.tile(TOKENS, 20)).loss for model in models]
    assert losses[0] == pytest.approx(losses[1], abs=2e-8)


def test_a_text_shorter_than_the_context(model):
    found = evaluate.evaluate(model, TOKENIZER, TOKENS[:3])
    assert found.tokens == 2
    with pytest.raises(UsageError, match="nothing to predict"):
        evaluate.evaluate(model, TOKENIZER, TOKENS[:1])


@pytest.mark.parametrize("stride", [0, 9, -1])
def test_a_stride_outside_the_context_is_refused(model, stride):
    with pytest.raises(UsageError, match="from 1 to the model's context of 8"):
        evaluate.evaluate(model, TOKENIZER, TOKENS, stride)


def test_a_loss_that_is_not_finite_is_an_error(model):
    model.wte.weight.value[...] = np.nan
    with pytest.raises(RunError, match="not finite"), np.errstate(invalid="ignore"):
        evaluate.evaluate(model, TOKENIZER, TOKENS)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return train(tmp_path_factory.mktemp("evaluate"))


def test_the_command_evaluates_the_validation_split(run_dir, capsys):
    assert evaluate.main([str(run_dir), "--json", "--backend", "numpy"]) == 0
    found = json.loads(capsys.readouterr().out)
    model, tokenizer, checkpoint = load_model(run_dir, device="numpy")
    expected = evaluate.evaluate(model, tokenizer, own_data(run_dir, tokenizer, checkpoint).val)
    assert found["loss"] == pytest.approx(expected.loss) and found["tokens"] == expected.tokens
    assert found["stride"] == 16 and found["step"] == checkpoint.step
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))


def test_the_command_evaluates_a_file_in_sliding_windows(run_dir, capsys, tmp_path):
    (tmp_path / "other.txt").write_text(TALE, encoding="utf-8")
    losses = []
    for stride in ("16", "2"):
        assert evaluate.main([str(run_dir), "--data", str(tmp_path / "other.txt"), "--stride", stride]) == 0
        out = capsys.readouterr().out
        assert f"{len(TALE) - 1:,} tokens" in out and "bits a byte" in out and "perplexity" in out
        losses.append(float(out.split("loss ")[1].split()[0]))
    assert losses[0] != losses[1]


def test_the_training_log_has_bits_a_byte(run_dir):
    line = json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[-1])
    # one character is one byte here, so that only the unit differs
    assert line["val_bits_per_byte"] == pytest.approx(line["val_loss"] / math.log(2))


def test_a_run_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        evaluate.main([str(tmp_path / "nothing")])


@pytest.mark.slow
def test_stories_are_told_and_scored(tmp_path, capsys):
    tales = (ROOT / "data" / "tales.txt").read_text(encoding="utf-8")[:20000]
    run_dir = train(tmp_path, text=tales)
    capsys.readouterr()
    assert evaluate.main([str(run_dir), "--stories", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"run", "step", "tales", "well_formed", "agreement", "right"} == found.keys() and found["right"] == 0
    assert evaluate.main([str(run_dir), "--stories=2"]) == 0
    assert "right        0.0% of the tales" in capsys.readouterr().out


def test_a_model_that_knows_its_tales_tells_them_right(monkeypatch):
    tokenizer = CharTokenizer.train((ROOT / "data" / "tales.txt").read_text(encoding="utf-8"))
    tale = "\n".join(split_tales((ROOT / "data" / "tales.txt").read_text(encoding="utf-8"))[0]) + "\n\n"
    asked = []

    def generate(model, ids, length, num_samples, **controls):
        asked.append((ids, length))
        text = tokenizer.encode(tale) * (length // len(tokenizer.encode(tale)) + 1)
        return [[SimpleNamespace(id=text[i])] * num_samples for i in range(length)]

    monkeypatch.setattr(evaluate, "generate_batch", generate)
    tales = evaluate.tell(None, tokenizer, 25)
    assert len(tales) == 25 and asked[0][0] == tokenizer.encode("\n\n") and score(tales).right == 1
