"""train.py --init_from: the weights, shape and tokenizer of another model; all else is the new run's own."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from gpt.tokenizers import ByteLevelTokenizer, CharTokenizer
from gpt.tokenizers.byte_level import LETTERS

from gpt import GPT, GPTConfig, load
from gpt.cli.command_line import parse_train
from gpt.commands import starting_from
from gpt.config.options import TrainConfig
from gpt.config.toml import read_run_config
from gpt.errors import RunError, UsageError
from gpt.hub import start
from gpt.hub.export import export
from gpt.hub.load import Loaded
from gpt.page import command as page
from gpt.runs.checkpoint import load_checkpoint
from gpt.training import run as training
from nanograd import Device
from tests.support.marks import slow
from tests.support.small_run import write_run
from tests.support.tiny_training import TEXT, TINY, at_step, send, timeless

SETTINGS = {name: TINY[name] for name in TINY if name not in ("tokenizer", "n_layer", "n_head", "n_embd", "block_size")}
LLAMA = {"norm": "rmsnorm", "position": "rope", "activation": "swiglu", "bias": False, "n_kv_head": 1}
SIZES = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 24}
# At this rate nothing moves: it is 0 in float32.
STILL = {"lr": 1e-300, "weight_decay": 0.0, "dropout": 0.0, "max_steps": 1, "warmup_steps": 0}


def words() -> ByteLevelTokenizer:
    """A small tokenizer as other people's models have them."""
    letters = {letter: i + 1 for i, letter in enumerate(LETTERS.values())}
    merges = [("t", "h"), ("th", "e"), ("a", "t"), ("Ġ", "the")]
    vocab = letters | {"".join(pair): len(letters) + 1 + i for i, pair in enumerate(merges)}
    return ByteLevelTokenizer(vocab, merges, "gpt2", special={"<|end|>": 0}, ends=(0,))


def foreign(tokenizer, **fields) -> Loaded:
    model = GPT(GPTConfig(tokenizer.vocab_size, **SIZES | fields), Device("numpy", seed=5))
    return Loaded(model.eval(), tokenizer, "a test")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run, a GPT-2 and a Llama as Hugging Face has them, and a GGUF file."""
    folder = tmp_path_factory.mktemp("models")
    tokenizer = CharTokenizer.train(TEXT)
    write_run(folder / "run", TEXT, **SIZES)
    export(foreign(tokenizer, activation="gelu", qkv_bias=True), folder / "gpt2", "hf")
    export(foreign(words(), **LLAMA), folder / "llama", "hf")
    export(foreign(words(), **LLAMA), folder / "llama.gguf", "gguf")
    return folder


@pytest.fixture
def models(made, workplace):
    """Them, in the current folder."""
    shutil.copytree(made, workplace, dirs_exist_ok=True)
    return workplace


def flags(values) -> list[str]:
    return [f"--{name}={value}" for name, value in values.items()]


def configure(*arguments: str) -> TrainConfig:
    return parse_train(["--data=text.txt", *flags(SETTINGS), *arguments], starting_from)


def go(*arguments: str) -> int:
    return training.main(configure(*arguments))


SOURCES = "run", "gpt2", "llama", "llama.gguf"


@pytest.mark.parametrize("source", SOURCES)
def test_a_run_starts_from_these_weights_and_holds_all_it_needs(models, source, capsys):
    expected, tokenizer = load(source)
    assert go(f"--init_from={source}", "--out_dir=new", *flags(STILL)) == 0
    assert f"starting from {Path(source).absolute()}" in capsys.readouterr().out
    noted = read_run_config(TrainConfig, Path("new/config.toml"))
    assert noted.init_from == str(Path(source).absolute()) and noted.dropout == 0
    for path in map(Path, SOURCES):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    model, own = load("new")
    assert model.config == expected.config and own.fingerprint == tokenizer.fingerprint
    mine, theirs = model.state_dict(), expected.state_dict()
    assert [name for name in theirs if not np.array_equal(mine[name], theirs[name])] == []
    assert [line["step"] for line in timeless("new") if "val_loss" in line] == [0, 1]


@pytest.mark.parametrize("source", ["run", "gpt2"])
def test_a_shorter_context_keeps_the_first_positions(models, source):
    assert go(f"--init_from={source}", "--out_dir=new", "--block_size=9", *flags(STILL)) == 0
    expected, model = load(source)[0].state_dict(), load("new")[0]
    found = model.state_dict()
    assert model.config.block_size == 9 and found["wpe.weight"].shape == (9, 16)
    assert all(np.array_equal(found[name], value[:9] if name == "wpe.weight" else value)
               for name, value in expected.items())  # fmt: skip


def test_with_rope_the_context_may_be_longer(models):
    assert go("--init_from=llama", "--out_dir=new", "--block_size=40", *flags(STILL)) == 0
    assert load("new")[0].config.block_size == 40


@pytest.mark.parametrize(("source", "threads"), [("llama", 2), slow("llama", 1), slow("run", 1), slow("run", 2)])
def test_stopped_and_resumed_is_as_never_stopped(models, monkeypatch, source, threads):
    more = (f"--init_from={source}", "--dropout=0.1", f"--threads={threads}")
    assert go("--out_dir=straight", *more) == 0
    with monkeypatch.context() as patch:
        at_step(patch, 7, send())
        assert go("--out_dir=new", *more) == 143
    shutil.rmtree(source)
    assert go("--out_dir=new", "--resume", *more) == 0  # the flag may be said again
    one, other = load_checkpoint("straight", 12), load_checkpoint("new", 12)
    assert timeless("straight") == timeless("new") and one.state == other.state
    for ours, theirs in ((one.model_state, other.model_state), (one.optimizer_state, other.optimizer_state)):
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_config_toml_repeats_the_run(models):
    assert go("--init_from=llama", "--out_dir=new") == 0
    assert go("--config=new/config.toml", "--out_dir=again") == 0
    one, other = load_checkpoint("new", 12), load_checkpoint("again", 12)
    assert one.state == other.state
    assert all(np.array_equal(value, other.model_state[name]) for name, value in one.model_state.items())


REFUSED = {
    ("run", "--n_embd=32"): "--n_embd 32 does not go with --init_from run, whose model has 16",
    ("run", "--activation=gelu"): "--activation gelu",
    ("run", "--block_size=25"): "--block_size 25 is more than the 24 positions",
    ("run", "--tokenizer=bpe"): "--tokenizer bpe does not go with --init_from run, whose tokenizer is char",
    ("run", "--zero_init"): "--zero_init True",
    ("run", "--out_dir=./run", "--overwrite"): "the run to start from",
    ("llama", "--n_kv_head=2"): "--n_kv_head 2 .*has 1",
    ("llama", "--n_inner=64"): "--n_inner 64 .*has 48",
    ("llama", "--rope_theta=500"): "--rope_theta 500.0 .*has 10000.0",
    ("llama", "--tokenizer=char"): "--tokenizer char .*is byte_level",
    ("llama", "--vocab_size=300"): "--vocab_size 300 .*has 261",
    ("llama", "--no_tie_weights", "--norm=layernorm"): "--norm layernorm",
    ("nothing",): "nothing does not exist: .*smollm2",
    ("text.txt",): "text.txt is a file",
}


@pytest.mark.parametrize("given", REFUSED, ids=" ".join)
def test_what_cannot_be_combined_is_refused_by_name(models, given):
    with pytest.raises(UsageError, match=REFUSED[given]) as caught:
        configure(f"--init_from={given[0]}", *given[1:])
    assert "\n" not in str(caught.value)


def test_what_the_weights_have_may_be_said(models):
    said = configure("--init_from=llama", "--n_embd=16", "--n_kv_head=1", "--tokenizer=bpe", "--vocab_size=261")
    assert said == configure("--init_from=llama")
    with pytest.raises(UsageError, match="--n_layer 3 does not go with"):  # not by the command line
        training.main(TrainConfig(data=("text.txt",), init_from="run", tokenizer="char", n_layer=3, backend="numpy"))
    assert not Path("out/text").exists()


def test_weights_without_a_tokenizer_are_refused(models):
    load("run")[0].save("bare")
    with pytest.raises(UsageError, match="bare has no tokenizer"):
        configure("--init_from=bare")


def test_a_run_cannot_be_resumed_from_elsewhere(models):
    assert go("--init_from=llama", "--out_dir=new", *flags(STILL)) == 0
    with pytest.raises(UsageError, match="--init_from cannot change on --resume"):
        configure("--init_from=run", "--out_dir=new", "--resume", *flags(STILL))


def test_numbers_that_are_not_finite_end_it_before_anything_is_written(models):
    data = bytearray(Path("llama/model.safetensors").read_bytes())
    data[-4:] = np.array([np.nan], "<f4").tobytes()
    Path("llama/model.safetensors").write_bytes(data)
    with pytest.raises(RunError, match="NaN"):
        go("--init_from=llama", "--out_dir=new")
    assert not Path("new").exists()


def test_defaults_are_those_of_fine_tuning_for_a_large_model(models, monkeypatch):
    def of(*arguments):
        config = parse_train(["--data=text.txt", *arguments], starting_from)
        return config.lr, config.batch_size, config.block_size

    assert of("--init_from=run") == (1e-3, 32, 24)
    monkeypatch.setattr(start, "LARGE", 10)
    assert of("--init_from=run") == (5e-5, 4, 24)
    assert of("--init_from=run", "--lr=1e-4", "--batch_size=2") == (1e-4, 2, 24)
    edit = json.loads(Path("llama/config.json").read_text()) | {"max_position_embeddings": 8192}
    Path("llama/config.json").write_text(json.dumps(edit))
    assert of("--init_from=llama") == (5e-5, 4, 64)


def test_nanogpt_words_for_it(workplace):
    assert parse_train(["--init_from=scratch"], starting_from) == TrainConfig()
    assert parse_train(["--init_from=resume", "--out_dir=new"], starting_from) == TrainConfig(
        resume=True, out_dir="new"
    )


def test_in_float64_and_with_another_tokenizer_than_the_page_has(models):
    assert go("--init_from=llama", "--out_dir=new", "--dtype=float64") == 0
    model, tokenizer = load("new")
    assert model.device.dtype == "float64" and tokenizer.decode(tokenizer.encode("the cat")) == "the cat"
    with pytest.raises(UsageError, match="no tokenizer of the kind byte_level"):
        page.main(["new"])


@pytest.mark.usefixtures("gpu_xp")
@pytest.mark.parametrize("dtype", [slow("float32"), "tf32"])
def test_on_a_gpu(models, dtype):
    expected = load("llama", device="numpy")[0].state_dict()
    gpu = ("--init_from=llama", "--backend=cupy", f"--dtype={dtype}", "--block_size=9")
    assert go("--out_dir=still", *gpu, *flags(STILL)) == 0
    found = load("still", device="numpy")[0].state_dict()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert go("--out_dir=new", *gpu, "--lr=1e-3") == 0
    losses = [line["val_loss"] for line in timeless("new") if "val_loss" in line]
    assert losses[-1] < losses[0]
