import shlex

import pytest
from gpt.tokenizers import BPETokenizer

from gpt.cli.command_line import parse_train
from gpt.config.options import TrainConfig
from gpt.page.contents import command, curves, describe_tokenizer, plain, settings, thinned

CONFIGS = [
    {},
    {"n_layer": 3, "bias": False, "qkv_bias": True, "lr": 3e-4, "min_lr": 0.0},
    {"data": ("/a b/it's.txt", '/x"; rm -rf $HOME.txt'), "tokenizer": "char", "warmup_steps": 7},
    {"data": ("/</script>\u202e\u2028.txt",), "vocab_size": 300, "tie_weights": True, "seed": 2**62},
]


@pytest.mark.parametrize("flags", CONFIGS, ids=str)
def test_the_command_makes_the_same_run_again(flags):
    config = TrainConfig(**flags)
    words = shlex.split(command(config))
    assert words[:2] == ["python", "train.py"]
    assert parse_train(words[2:]) == config


def test_the_command_leaves_out_what_started_one_run_only():
    config = TrainConfig(out_dir="out/x", resume=True, debug=True, n_layer=3)
    assert command(config) == "python train.py --n_layer 3"


def test_settings_know_which_are_not_the_defaults():
    table = {row["name"]: row for row in settings(TrainConfig(n_layer=3, bias=False))}
    assert table["n_layer"]["changed"] and table["n_layer"]["value"] == "3"
    assert table["bias"]["value"] == "false" and not table["n_head"]["changed"]
    assert table["data"]["value"].startswith("tales") and "out_dir" not in table
    assert all(isinstance(row["value"], str) and row["value"] for row in table.values())


def test_numbers_are_short_and_what_is_none_is_null():
    assert [plain(x) for x in (0.123456789, 2.0, 7, float("nan"), float("inf"), None, True, "x")] == [
        0.12346, 2, 7, None, None, None, None, None,
    ]  # fmt: skip


def test_curves_of_a_long_run_are_thinned_and_keep_their_ends():
    lines = [{"step": i, "loss": 2.0, "lr": 1e-3, "grad_norm": 1.0, "grad_norms": {"wte": 0.5}} for i in range(1, 5001)]
    lines += [{"step": 5000, "train_loss": 1.0, "val_loss": None}, {"step": 5001, "loss": None, "lr": 1e-3}]
    table = curves(lines)
    steps = table["logged"]["step"]
    assert len(steps) == 600 and steps[0] == 1 and steps[-1] == 5000 and steps == sorted(set(steps))
    assert table["layers"] == {"wte": [0.5] * 600}
    assert table["evaluated"] == {"step": [5000], "train_loss": [1], "val_loss": [None]}
    assert thinned([], 5) == [] and thinned([1, 2], 2) == [1, 2]


def test_the_pieces_of_a_bpe_tokenizer_come_with_their_scores():
    tokenizer = BPETokenizer.train("the cat sat on the mat " * 30, 280)
    told = describe_tokenizer(tokenizer)
    assert len(told["pieces"]) == len(told["scores"]) == 280 - 257
    assert [piece.replace("▁", " ").encode() for piece in told["pieces"]] == tokenizer.table[257:]
