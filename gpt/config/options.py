"""Every flag of train.py and sample.py: its name, default, one-line help and allowed range, written once.

The classes that end in `Flags` are the groups of `--help`; a configuration is made of several. The shape of
the network stands in ModelFlags alone (model_flags.py), shared by GPTConfig (what a model is built from) and
TrainConfig (what a run is started with). The defaults are those of the article this project implements, but for the
learning rate: at 1e-3 instead of 3e-4 the stories that come along reach a validation loss of 0.24 instead of 0.38 in
the same 1000 steps, and Alice 1.55 instead of 1.92.
"""

from dataclasses import dataclass, fields
from typing import Literal

from gpt.config.flags import Checked, flag, rule_of
from gpt.config.model_flags import LARGEST_AXIS, GPTConfig, ModelFlags
from gpt.errors import UsageError
from nanograd.optim.schedule import warmup_cosine, warmup_stable_decay

LARGEST_SEED = 2**63 - 1  # TOML's largest whole number
GPU_DTYPES = "tf32", "bfloat16"


@dataclass(frozen=True, kw_only=True)
class DataFlags(Checked):
    # A text may move: what a resumed run holds on to is the text's hash, not its place.
    data: tuple[str, ...] = flag(
        (),
        "text to learn: files, folders, globs or a known text; may be repeated",
        metavar="FILE",
        default_text="tales, stories that come along; also tales-zh, alice, tinyshakespeare, enwik8, text8",
        path=True,
        resume=True,
    )
    val_data: tuple[str, ...] = flag(
        (),
        "text to validate on, named as in --data; --split then has no say",
        metavar="FILE",
        default_text="a part of --data, see --split",
        path=True,
        resume=True,
    )
    split: Literal["tail", "spread"] = flag(
        "tail", "what validates: the last tenth of each file, or tenths of stretches from all over"
    )
    skip_unreadable: bool = flag(False, "leave out files that are no UTF-8 text, with a line each", resume=True)
    tokenizer: Literal["bpe", "char"] = flag(
        "bpe", "byte-pair pieces or single characters", aliases=("tokenizer_mode",)
    )
    vocab_size: int | None = flag(
        None,
        "tokens of a bpe vocabulary",
        at_least=1,
        default_text="to suit the text, at most 512 for a small one",
    )

    def check_together(self) -> None:
        super().check_together()
        if self.tokenizer == "char" and self.vocab_size is not None:
            raise UsageError("--vocab_size goes with --tokenizer bpe: char has a token for each character of the text")


@dataclass(frozen=True, kw_only=True)
class MachineFlags(Checked):
    backend: Literal["auto", "numpy", "cupy"] = flag(
        "auto", "where to compute; auto is cupy where it finds a GPU, else numpy", resume=True
    )
    threads: int | None = flag(
        None,
        "CPU cores to compute on: threads, or processes where the batch is split",
        at_least=1,
        at_most=4096,
        default_text="the cores it may use",
        resume=True,
    )
    debug: bool = flag(False, "show the trace of an error", saved=False, resume=True)


@dataclass(frozen=True, kw_only=True)
class TrainingFlags(Checked):
    dtype: Literal["float32", "float64", "tf32", "bfloat16"] = flag(
        "float32", "of the numbers; the last two on cupy alone"
    )
    atomics: bool = flag(
        False, "embedding gradients by atomics, on cupy alone: runs then differ in the last bits", resume=True
    )
    batch_size: int = flag(32, "windows of text in a batch", at_least=1, at_most=LARGEST_AXIS)
    grad_accum: int = flag(
        1,
        "batches whose gradients make one step",
        at_least=1,
        at_most=LARGEST_AXIS,
        aliases=("gradient_accumulation_steps",),
    )
    max_steps: int = flag(1000, "steps of the optimiser", at_least=1, aliases=("max_iters",), resume=True)
    lr: float = flag(1e-3, "highest learning rate", above=0, aliases=("learning_rate", "base_lr"))
    min_lr: float | None = flag(
        None, "learning rate of the last step", at_least=0, default_text="lr / 10; 0 for --schedule wsd"
    )
    warmup_steps: int | None = flag(
        None,
        "steps over which the learning rate rises to lr",
        at_least=0,
        aliases=("warmup_iters", "warmup"),
        default_text="100, or a tenth of max_steps if that is less",
    )
    lr_decay_steps: int | None = flag(
        None,
        "step by which the learning rate has fallen to min_lr, where it stays",
        at_least=1,
        aliases=("lr_decay_iters",),
        default_text="max_steps",
        resume=True,
    )
    schedule: Literal["cosine", "wsd", "constant"] = flag(
        "cosine", "of the rate after the warmup; wsd is flat, then falls in a line to min_lr"
    )
    decay_share: float = flag(0.5, "share of the steps over which wsd falls", above=0, at_most=1)
    optimizer: Literal["adamw", "muon"] = flag("adamw", "muon takes the blocks' matrices, and leaves the rest to AdamW")
    muon_lr: float = flag(0.02, "Muon's highest learning rate; it follows the schedule of lr", above=0)
    muon_momentum: float = flag(0.95, "Muon's memory of the gradient", at_least=0, below=1)
    muon_scale_rows: bool = flag(False, "let Muon bring each neuron's part of an update to one size (NorMuon)")
    weight_decay: float = flag(0.01, "of AdamW and Muon, on matrices only", at_least=0)
    beta1: float = flag(0.9, "AdamW's memory of the mean gradient", at_least=0, below=1)
    beta2: float = flag(0.95, "AdamW's memory of its square", at_least=0, below=1)
    grad_clip: float = flag(1.0, "largest norm of the gradient; 0 lets any pass", at_least=0)
    seed: int = flag(0, "decides weights, batches and dropout", at_least=0, at_most=LARGEST_SEED)

    @property
    def final_lr(self) -> float:
        """`min_lr`, or what stands in for it."""
        if self.min_lr is not None:
            return self.min_lr
        return 0.0 if self.schedule == "wsd" else self.lr / 10

    @property
    def decay_steps(self) -> int:
        """`lr_decay_steps`, or what stands in for it."""
        return self.max_steps if self.lr_decay_steps is None else self.lr_decay_steps

    def lr_at(self, step: int) -> float:
        """The learning rate of `step`, counted from 0, as `schedule` has it."""
        settings = {
            "lr": self.lr,
            "min_lr": self.final_lr,
            "warmup_steps": self.warmup,
            "max_steps": self.decay_steps,
        }
        if self.schedule == "cosine":
            return warmup_cosine(step, **settings)
        decay_share = self.decay_share if self.schedule == "wsd" else 0.0
        return warmup_stable_decay(step, **settings, decay_share=decay_share)

    @property
    def warmup(self) -> int:
        """`warmup_steps`, or what stands in for it."""
        return min(100, self.max_steps // 10) if self.warmup_steps is None else self.warmup_steps

    def check_together(self) -> None:
        super().check_together()
        if self.final_lr > self.lr:
            raise UsageError(f"--min_lr must be at most --lr ({self.lr}), not {self.min_lr}")
        if self.warmup > self.max_steps:
            raise UsageError(f"--warmup_steps must be at most --max_steps ({self.max_steps}), not {self.warmup_steps}")


@dataclass(frozen=True, kw_only=True)
class EvaluationFlags(Checked):
    eval_interval: int = flag(100, "steps between evaluations", at_least=1, resume=True)
    eval_iters: int = flag(20, "batches an evaluation averages over", at_least=1, resume=True)
    log_interval: int = flag(10, "steps between lines of metrics.jsonl", at_least=1, resume=True)
    log_sharpness: int = flag(
        0, "steps between measurements of the loss's curvature; 0 for none (slow)", at_least=0, resume=True
    )
    sample_tokens: int = flag(200, "length of the sample shown at the end; 0 shows none", at_least=0, resume=True)
    detect_anomaly: bool = flag(False, "look for NaN and infinity in every operation (slow)", resume=True)


@dataclass(frozen=True, kw_only=True)
class RunFlags(Checked):
    # What starts this one run, and is not part of what the run is, stays out of config.toml: saved=False.
    out_dir: str | None = flag(
        None,
        "folder of the run",
        metavar="DIR",
        default_text="out/NAME, or out/NAME-2, ... if there is one",
        path=True,
        saved=False,
        resume=True,
    )
    config: str | None = flag(
        None,
        "recipe, or TOML file of flags; those on the command line go before it",
        metavar="FILE",
        default_text="none",
        path=True,
        saved=False,
        resume=True,
    )
    init_from: str | None = flag(
        None,
        "weights to start from: of a run, a Hugging Face folder, a .gguf file, or smollm2",
        metavar="MODEL",
        default_text="weights drawn anew",
        path=True,
    )
    list_recipes: bool = flag(False, "print what recipes there are, and nothing else", saved=False, resume=True)
    minutes: float | None = flag(
        None,
        "train for so long: measure the speed first, then fix max_steps",
        above=0,
        at_most=1e6,
        default_text="max_steps decides",
        saved=False,
        resume=True,
    )
    resume: bool = flag(
        False, "go on with the run in out_dir (or the newest), if there is one", saved=False, resume=True
    )
    overwrite: bool = flag(False, "start anew in an out_dir that holds a run", saved=False, resume=True)
    checkpoint_interval: int | None = flag(
        None, "steps between checkpoints", at_least=1, default_text="at evaluations", resume=True
    )
    keep: int = flag(2, "latest checkpoints to keep, beside the best", at_least=1, resume=True)

    def check_together(self) -> None:
        super().check_together()
        if self.resume and self.overwrite:
            raise UsageError("--resume goes on with a run and --overwrite starts it anew: give one of the two")
        if self.resume and self.minutes is not None:
            raise UsageError("--minutes fixes the length of a new run: --resume goes on to the max_steps that it has")


# A dataclass collects the fields of its bases from the last to the first, and --help shows them like that.
@dataclass(frozen=True, kw_only=True)
class TrainConfig(MachineFlags, RunFlags, EvaluationFlags, TrainingFlags, ModelFlags, DataFlags):
    """Everything a training run is started with. Raises UsageError for what cannot be."""

    def check_together(self) -> None:
        super().check_together()
        if self.dtype in GPU_DTYPES and self.backend == "numpy":
            raise UsageError(
                f"--dtype {self.dtype} needs --backend cupy: numpy computes in float32 or float64; "
                "give --dtype float32, in which such a run can go on as well"
            )
        if self.atomics and self.backend == "numpy":
            raise UsageError("--atomics needs --backend cupy: numpy has none and adds up in order; give --no-atomics")

    def model_config(self, vocab_size: int) -> GPTConfig:
        """The model's shape, once the tokenizer has said how large its vocabulary is."""
        return GPTConfig(vocab_size, **{field.name: getattr(self, field.name) for field in fields(ModelFlags)})


def changed_fixed_flags(old: TrainConfig, new: TrainConfig) -> list[str]:
    """The names of the flags that differ although a resumed run must keep them."""
    kept = [f.name for f in fields(new) if not rule_of(f).resume]
    return [name for name in kept if not may_become(name, getattr(old, name), getattr(new, name))]


def may_become(name: str, before, after) -> bool:
    """Whether a resumed run may have `after` for the flag `name`, which it must keep, where it had `before`.

    The precision may change among those whose weights, gradients and optimiser are float32.
    """
    return before == after or (name == "dtype" and "float64" not in (before, after))


def refuse_changes(old: TrainConfig, new: TrainConfig) -> None:
    """Raise UsageError, naming the first flag, if `new` asks a run started as `old` to become another one."""
    for name in changed_fixed_flags(old, new):
        before, after = getattr(old, name), getattr(new, name)
        raise UsageError(f"--{name} cannot change on --resume: the run has {before}, not {after}; leave the flag out")


@dataclass(frozen=True, kw_only=True)
class WhichFlags(Checked):
    checkpoint: str = flag(
        "best",
        "best (by validation loss, or the latest where none was measured), latest, or a step",
        metavar="WHICH",
        test=lambda text: text in ("best", "latest") or (text.isascii() and text.isdigit() and len(text) < 10),
        allowed="best, latest or the number of a step",
    )

    @property
    def which(self) -> str | int:
        """`checkpoint` as load_checkpoint takes it: "best", "latest" or the step as a number."""
        return int(self.checkpoint) if self.checkpoint.isdigit() else self.checkpoint


@dataclass(frozen=True, kw_only=True)
class RunDirFlags(Checked):
    run_dir: str | None = flag(
        None,
        "folder of the run",
        metavar="RUN_DIR",
        default_text="the newest in out/",
        aliases=("out_dir",),
        path=True,
        positional=True,
    )


@dataclass(frozen=True, kw_only=True)
class TextFlags(Checked):
    data: tuple[str, ...] = flag(
        (), "the run's text, where it has moved or changed", metavar="FILE", default_text="where it was", path=True
    )


@dataclass(frozen=True, kw_only=True)
class CheckpointFlags(WhichFlags):
    out_dir: str | None = flag(None, "folder of the run", metavar="DIR", default_text="the newest in out/", path=True)


@dataclass(frozen=True, kw_only=True)
class PromptFlags(Checked):
    prompt: str = flag(
        "",
        "text to go on with; \\n, \\t and \\\\ are read as line break, tab and backslash",
        metavar="TEXT",
        default_text="none",
        aliases=("start",),
        escapes=True,
    )
    prompt_file: str | None = flag(
        None, "file with the prompt; - is standard input", metavar="FILE", default_text="none", path=True
    )
    interactive: bool = flag(False, "ask for one prompt after another")

    def check_together(self) -> None:
        super().check_together()
        if self.prompt and self.prompt_file:
            raise UsageError("--prompt and --prompt_file both give a prompt: give one of the two")


@dataclass(frozen=True, kw_only=True)
class ChoiceFlags(Checked):
    # Names as vLLM and Hugging Face have them, in the order in which they are applied.
    repetition_penalty: float = flag(1.0, "CTRL's, over prompt and sample; 1 is off", at_least=0.01, at_most=100)
    frequency_penalty: float = flag(
        0.0, "OpenAI's, for each time a token was sampled; 0 is off", at_least=-2, at_most=2
    )
    presence_penalty: float = flag(0.0, "OpenAI's, once for a token that was sampled; 0 is off", at_least=-2, at_most=2)
    temperature: float = flag(0.8, "below 1 is safer, above 1 wilder, 0 takes the likeliest token", at_least=0)
    top_k: int = flag(0, "choose among the k likeliest tokens; 0 is off", at_least=0)
    top_p: float = flag(0.95, "choose among the likeliest that make up p together; 1 is off", above=0, at_most=1)
    min_p: float = flag(
        0.0, "choose among those at least p times as likely as the likeliest; 0 is off", at_least=0, at_most=1
    )
    seed: int | None = flag(
        None, "decides every choice", at_least=0, at_most=LARGEST_SEED, default_text="a fresh one, printed"
    )


@dataclass(frozen=True, kw_only=True)
class OutputFlags(Checked):
    max_new_tokens: int = flag(200, "tokens to make, at most", at_least=1, aliases=("max_tokens",))
    num_samples: int = flag(1, "samples to make", at_least=1, at_most=LARGEST_AXIS, aliases=("num_return_sequences",))
    stop: tuple[str, ...] = flag(
        (),
        "end a sample before this text, with \\n, \\t and \\\\ as in --prompt; may be repeated",
        metavar="TEXT",
        default_text="none",
        aliases=("stop_strings",),
        test=bool,
        allowed="a text that is not empty",
        escapes=True,
    )
    json: bool = flag(False, "print one JSON object a sample")
    logprobs: int = flag(
        0,
        "with --json: each token's log probability and its N best rivals (5 if no N)",
        metavar="[N]",
        at_least=0,
        bare="5",
    )

    exact_window: bool = flag(False, "past the context, compute the whole window for each token, with rope too")

    def check_together(self) -> None:
        super().check_together()
        if self.logprobs and not self.json:
            raise UsageError("--logprobs needs --json, which has a place for them")


@dataclass(frozen=True, kw_only=True)
class SampleConfig(MachineFlags, OutputFlags, ChoiceFlags, PromptFlags, CheckpointFlags):
    """Everything a sample is made with. Raises UsageError for what cannot be."""

    def check_together(self) -> None:
        super().check_together()
        for other in ("json", "prompt_file"):
            if self.interactive and getattr(self, other):
                raise UsageError(f"--interactive asks for prompts on the terminal and does not go with --{other}")
        if self.interactive and self.num_samples > 1:
            raise UsageError("--interactive makes one sample at a time: leave out --num_samples")
