"""A run that is stopped and resumed is, bit for bit, the run that was never stopped; and no other run."""

import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gpt.cli.command_line import parse_train
from gpt.config.options import TrainConfig, changed_fixed_flags
from gpt.errors import RunError, UsageError
from gpt.runs.checkpoint import list_steps, load_checkpoint, save_checkpoint
from gpt.training import run as training
from tests.support.marks import slow
from tests.support.tiny_training import TEXT, arguments, at_step, send, timeless, train
from tokenizers import CharTokenizer


def assert_same_run(one, other, step=12):
    assert timeless(one) == timeless(other)
    ours, theirs = load_checkpoint(one, step), load_checkpoint(other, step)
    assert ours.state == theirs.state and ours.val_loss == theirs.val_loss
    for mine, yours in ((ours.model_state, theirs.model_state), (ours.optimizer_state, theirs.optimizer_state)):
        assert mine.keys() == yours.keys()
        assert all(np.array_equal(mine[name], yours[name]) for name in mine)


LATER = {"norm": "rmsnorm", "position": "rope", "activation": "swiglu", "n_kv_head": 1, "qk_norm": "rms_weight"}
MUON = {"optimizer": "muon", "muon_scale_rows": True, "schedule": "wsd"}
FLAGS = [{}, {"dtype": "float64", "tie_weights": True}, LATER | {"threads": 2}, MUON | {"threads": 2}]
FLAGS += map(slow, [{"threads": 2}, {"grad_clip": 0.0}, {"position": "rope", "activation": "relu2", "zero_init": True}])
FLAGS += [slow(MUON)]


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("stop", [slow(1), 5, slow(11)])
def test_stopped_and_resumed_is_as_never_stopped(workplace, monkeypatch, flags, stop):
    assert train(out_dir="straight", **flags) == 0
    with monkeypatch.context() as patch:
        at_step(patch, stop, send())
        assert train(**flags) == 143
    assert list_steps("run")[-1] == stop
    assert train(resume=True, **flags) == 0
    assert_same_run("straight", "run")


def test_a_run_that_dies_has_saved_at_its_interval(workplace, monkeypatch):
    def die(trainer):
        raise SystemExit(9)  # nothing after it happens

    at_step(monkeypatch, 9, die)
    with pytest.raises(SystemExit):
        train(checkpoint_interval=3)
    assert list_steps("run") == [3, 6]
    assert [line["step"] for line in timeless()] == [0, 1, 2, 4, 5, 6, 8]


def test_lost_steps_leave_no_gap_and_no_repeat(workplace):
    assert train(out_dir="straight", checkpoint_interval=3, keep=10) == 0
    shutil.copytree("straight", "run")
    shutil.rmtree("run/checkpoints/step-00000012")
    shutil.rmtree("run/checkpoints/step-00000009")  # the log goes on to 12, the checkpoints to 6
    assert train(resume=True, checkpoint_interval=3, keep=10) == 0
    assert_same_run("straight", "run")


def test_resuming_nothing_starts(workplace, capsys):
    assert train(out_dir="straight") == 0
    assert train(resume=True) == 0
    assert_same_run("straight", "run")
    shutil.rmtree("run/checkpoints")  # killed before its first checkpoint
    assert train(resume=True) == 0
    assert_same_run("straight", "run")


def test_resuming_a_finished_run_says_so_and_more_steps_go_on(workplace, capsys):
    assert train() == 0
    before = load_checkpoint("run").model_state
    capsys.readouterr()
    assert train(resume=True) == 0
    assert "the run has done its 12 steps; --max_steps with a larger number goes on" in capsys.readouterr().out
    assert all(np.array_equal(value, before[name]) for name, value in load_checkpoint("run").model_state.items())
    assert train(resume=True, max_steps=14) == 0
    assert "going on from step 12" in capsys.readouterr().out
    assert list_steps("run")[-1] == 14


@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
def test_a_leap_of_the_learning_rate_is_told_with_the_flag_that_keeps_it_low(workplace, capsys, schedule):
    low = 1e-4 if schedule == "cosine" else 0.0
    assert train(schedule=schedule, lr=1e-3) == 0
    shutil.copytree("run", "low")
    capsys.readouterr()
    assert train(schedule=schedule, lr=1e-3, max_steps=24, resume=True) == 0
    rate = timeless()[-12]["lr"]
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("the learning rate goes"))
    assert line.startswith(f"the learning rate goes from {low:.1e} up to ") and line.endswith(
        f"--lr_decay_steps 12 keeps it at {low:.1e}"
    )
    assert rate > 2 * low
    assert train(schedule=schedule, lr=1e-3, max_steps=24, lr_decay_steps=12, resume=True, out_dir="low") == 0
    assert "the learning rate goes" not in capsys.readouterr().out
    assert timeless("low")[-1]["lr"] == low


def test_no_leap_is_told_where_wsd_has_not_fallen_yet(workplace, capsys):
    assert train(schedule="wsd", lr_decay_steps=24) == 0
    assert train(schedule="wsd", max_steps=24, resume=True) == 0
    assert "the learning rate goes" not in capsys.readouterr().out


def test_config_toml_alone_runs_the_same_run_again_from_anywhere(workplace, monkeypatch):
    Path("books").mkdir()
    shutil.copy("text.txt", "books/中文 1.txt")
    shutil.copy("text.txt", "books/2.md")
    assert train(data=("text.txt", "books/*.md", "books"), out_dir="first") == 0
    elsewhere = workplace / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    config = parse_train(["--config", str(workplace / "first" / "config.toml"), "--out_dir", "again"])
    assert training.main(config) == 0
    assert_same_run(workplace / "first", "again")


def test_names_of_texts_stay_names_in_config_toml(workplace):
    from gpt.data.finding import absolute_specs

    folder = str(workplace)
    assert absolute_specs(["tales-zh", "text.txt", "*.txt", f"{folder}/*.md"]) == (
        "known:tales-zh",
        f"{folder}/text.txt",
        f"{folder}/*.txt",
        f"{folder}/*.md",
    )


FREE = {
    "max_steps": 14,
    "eval_interval": 3,
    "eval_iters": 1,
    "log_interval": 1,
    "checkpoint_interval": 2,
    "keep": 4,
    "threads": 2,
    "backend": "auto",
    "atomics": False,
    "sample_tokens": 3,
    "detect_anomaly": True,
}


def test_what_may_change_on_resume_may(workplace, monkeypatch):
    at_step(monkeypatch, 4, send())
    assert train() == 143
    assert parse_train(["--resume", *arguments(**FREE)]).max_steps == 14
    assert train(resume=True, **FREE) == 0
    assert list_steps("run") == [8, 10, 12, 14] or len(list_steps("run")) == 5  # and the best, if it is another


FIXED = {
    "n_layer": 2,
    "n_head": 1,
    "n_embd": 16,
    "block_size": 4,
    "dropout": 0.1,
    "activation": "gelu",
    "bias": False,
    "qkv_bias": True,
    "tie_weights": True,
    "norm": "rmsnorm",
    "norm_eps": 1e-6,
    "position": "rope",
    "n_kv_head": 1,
    "head_dim": 6,
    "qk_norm": "rms",
    "n_inner": 20,
    "zero_init": True,
    "dtype": "float64",
    "batch_size": 2,
    "grad_accum": 1,
    "lr": 1.0,
    "min_lr": 0.0,
    "warmup_steps": 1,
    "weight_decay": 0.5,
    "beta1": 0.5,
    "beta2": 0.5,
    "grad_clip": 0.0,
    "schedule": "wsd",
    "decay_share": 0.25,
    "optimizer": "muon",
    "muon_lr": 1.0,
    "muon_momentum": 0.5,
    "muon_scale_rows": True,
    "seed": 1,
    "tokenizer": "bpe",
}


ROPE = {"position": "rope", "rope_scaling": "llama3", "rope_factor": 8.0}
FIXED_WITH_ROPE = {
    "rope_theta": 5e5,
    "rope_scaling": "linear",
    "rope_factor": 4.0,
    "rope_low_freq_factor": 2.0,
    "rope_high_freq_factor": 8.0,
    "rope_original_context": 64,
}


@pytest.mark.parametrize(("settings", "changes"), [({}, FIXED), (ROPE, FIXED_WITH_ROPE)])
def test_what_must_not_change_is_refused_by_name(workplace, settings, changes):
    assert train(max_steps=2, **settings) == 0
    before = {path: path.read_bytes() for path in sorted(Path("run").rglob("*")) if path.is_file()}
    with pytest.raises(UsageError, match=r"^--lr cannot change on --resume: the run has 0\.01, not 1\.0"):
        parse_train(["--resume", *arguments(lr=1.0)])
    for name, value in changes.items():
        with pytest.raises(UsageError, match=f"^--{name} cannot change on --resume: run/checkpoints/step-0.* has "):
            train(resume=True, **(settings | {name: value}))  # even if config.toml was changed as well
    assert {path: path.read_bytes() for path in sorted(Path("run").rglob("*")) if path.is_file()} == before


def test_every_flag_is_either_free_or_fixed():
    from dataclasses import fields

    from gpt.config.flags import rule_of
    from gpt.config.options import TrainConfig
    from gpt.training.run_state import fixed_flags

    assert fixed_flags(TrainConfig()).keys() == {*FIXED, *FIXED_WITH_ROPE, "vocab_size", "split", "init_from"}
    free = {field.name for field in fields(TrainConfig) if rule_of(field).resume and rule_of(field).saved}
    assert free == {*FREE, "data", "val_data", "skip_unreadable", "lr_decay_steps", "log_sharpness"}


def test_another_text_is_refused(workplace):
    assert train(max_steps=2) == 0
    (workplace / "text.txt").write_text(TEXT.replace("cat", "cow"), encoding="utf-8")
    with pytest.raises(UsageError, match="not the text that this run was trained on"):
        train(resume=True, max_steps=4)
    (workplace / "moved.txt").write_bytes(TEXT.encode())
    assert train(resume=True, max_steps=4, data=("moved.txt",)) == 0


def test_another_tokenizer_is_refused(workplace):
    assert train(max_steps=2) == 0
    letters = sorted(set(TEXT))
    CharTokenizer.train(["".join(letters[:-1]) + "ß"]).save("run")
    with pytest.raises(RunError, match="the tokenizer in run is not the one that step-00000002 was trained with"):
        train(resume=True, max_steps=4)


def test_a_damaged_checkpoint_is_said_and_the_one_before_it_used(workplace, capsys):
    assert train(out_dir="straight", checkpoint_interval=3, keep=10) == 0
    shutil.copytree("straight", "run")
    for step in (12, 9):
        file = Path(f"run/checkpoints/step-{step:08}/model.safetensors")
        content = bytearray(file.read_bytes())
        content[-5] ^= 1
        file.write_bytes(content)
    capsys.readouterr()
    assert train(resume=True, checkpoint_interval=3, keep=10) == 0
    err = capsys.readouterr().err
    for step in (12, 9):
        assert f"warning: run/checkpoints/step-{step:08}/model.safetensors is damaged" in err
    assert err.count("; going back to the checkpoint of step 6\n") == 2
    assert_same_run("straight", "run")


def forged(change):
    """A checkpoint whose hashes are right and whose content is not."""
    checkpoint = load_checkpoint("run")
    model, optimizer, state = checkpoint.model_state, dict(checkpoint.optimizer_state), checkpoint.state
    change(model, optimizer, state)
    save_checkpoint("run", 3, model, optimizer, state, 1.0)


def forget(name):
    return lambda model, optimizer, state: state.pop(name)


def set_to(name, value):
    return lambda model, optimizer, state: state.update({name: value})


FORGERIES = [
    (forget("flags"), "flags is missing or of the wrong kind"),
    (forget("model"), "model is missing or of the wrong kind"),
    (forget("tokenizer"), "tokenizer is missing or of the wrong kind"),
    (set_to("corpus_sha256", 3), "corpus_sha256 is missing or of the wrong kind"),
    (set_to("spikes", [1]), "spikes is missing or of the wrong kind"),
    (set_to("spikes", {"count": 1}), "statistics of the loss are missing or of the wrong kind"),
    (lambda model, optimizer, state: model.pop("wte.weight"), "missing tensors: wte.weight"),
    (lambda model, optimizer, state: model.update(x=np.zeros(3)), "unexpected tensors: x"),
    (lambda model, optimizer, state: model.update({"ln_f.bias": np.zeros(3)}), "tensor ln_f.bias has shape (3,)"),
    (lambda model, optimizer, state: model.update({"ln_f.bias": np.zeros(8, int)}), "tensor ln_f.bias holds int64"),
    (lambda model, optimizer, state: optimizer.pop("step"), "missing optimizer tensors: step"),
    (
        lambda model, optimizer, state: optimizer.pop("exp_avg.wte.weight"),
        "missing optimizer tensors: exp_avg.wte.weight",
    ),
    (lambda model, optimizer, state: optimizer.update(step=np.zeros(2)), "step of the optimizer"),
]


@pytest.mark.parametrize(("change", "problem"), FORGERIES)
def test_a_checkpoint_that_does_not_fit_is_one_line(workplace, change, problem):
    assert train(max_steps=2) == 0
    forged(change)
    with pytest.raises(RunError) as caught:
        train(resume=True, max_steps=4)
    assert problem in str(caught.value) and "step-00000003" in str(caught.value)


def test_config_toml_that_was_lost_is_made_up_for_by_the_flags(workplace):
    assert train(max_steps=2) == 0
    Path("run/config.toml").unlink()
    with pytest.raises(UsageError, match=r"--n_embd cannot change on --resume: .*; give --n_embd 8, or start a new"):
        training.main(replace(parse_train(["--resume", *arguments()]), n_embd=128))
    assert train(resume=True, max_steps=4) == 0
    assert tomllib.loads(Path("run/config.toml").read_text())["max_steps"] == 4


@pytest.mark.slow
def test_a_run_in_bfloat16_goes_on_in_float32_and_says_so(workplace, capsys):
    """Its weights are float32 too, so it can leave the GPU and come back."""
    assert train() == 0
    saved = load_checkpoint("run")
    state = saved.state | {"flags": saved.state["flags"] | {"dtype": "bfloat16"}}
    save_checkpoint("run", 12, saved.model_state, saved.optimizer_state, state, None, 2)
    config = Path("run/config.toml")
    text = config.read_text(encoding="utf-8").replace('"float32"', '"bfloat16"').replace('"numpy"', '"cupy"')
    config.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=r"--dtype bfloat16 needs --backend cupy.*give --dtype float32"):
        parse_train(["--resume", "--out_dir=run", "--backend=numpy"])
    capsys.readouterr()
    again = ["--resume", "--out_dir=run", "--backend=numpy", "--dtype=float32", "--max_steps=14"]
    assert training.main(parse_train(again)) == 0
    assert "the run was in bfloat16 and goes on in float32" in capsys.readouterr().out
    with pytest.raises(UsageError, match="--dtype cannot change on --resume: the run has float32, not float64"):
        parse_train(["--resume", "--out_dir=run", "--dtype=float64"])


@pytest.mark.parametrize("before", ["float32", "float64", "tf32", "bfloat16"])
@pytest.mark.parametrize("after", ["float32", "float64", "tf32", "bfloat16"])
def test_the_precision_may_change_where_weights_stay_in_float32(before, after):
    old, new = (TrainConfig(dtype=dtype) for dtype in (before, after))
    free = (before == "float64") == (after == "float64")
    assert changed_fixed_flags(old, new) == ([] if free else ["dtype"])
