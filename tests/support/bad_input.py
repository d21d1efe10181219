"""What people, editors, disks and attackers put in front of train.py and sample.py: the table of test_bad_input.py.

A case is (name, program, arguments, exit code, a part of the message, what to prepare). Preparing happens in an
empty folder that has `good.txt`, and `run`, the folder of a trained run.
"""

import json
import os
from pathlib import Path

import numpy as np

from gpt.runs.checkpoint import load_checkpoint, save_checkpoint

TRAIN, SAMPLE = "train.py", "sample.py"


def file(name, content):
    """Prepare a file; `content` is text or bytes."""

    def write():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)

    return write


def latest(name):
    return next(Path("run/checkpoints").glob("step-00000020")) / name


def truncate(path, size):
    return lambda: os.truncate(path() if callable(path) else path, size)


def flip(path, position):
    def change():
        where = path() if callable(path) else Path(path)
        content = bytearray(where.read_bytes())
        content[position] ^= 64
        where.write_bytes(content)

    return change


def overwrite(path, content):
    return lambda: (path() if callable(path) else Path(path)).write_bytes(content)


def resaved(change):
    """The latest checkpoint with other content and hashes that are right."""

    def save():
        checkpoint = load_checkpoint("run")
        change(checkpoint.model_state, checkpoint.state)
        save_checkpoint("run", 30, checkpoint.model_state, {}, checkpoint.state, 0.5)

    return save


def several(*steps):
    return lambda: [step() for step in steps]


def tokenizer_header(**changes):
    def change():
        path = Path("run/tokenizer.json")
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")

    return change


def weights():
    return latest("model.safetensors")


def enormous_header():
    content = weights().read_bytes()
    weights().write_bytes((2**62).to_bytes(8, "little") + content[8:])


FLAGS = [
    (TRAIN, "--n_layers=3", "there is no flag --n_layers; did you mean --n_layer?"),
    (TRAIN, "--banana=1", "there is no flag --banana; --help lists them all"),
    (TRAIN, "-x", "there is no flag -x"),
    (TRAIN, "book.txt", "'book.txt' stands alone"),
    (TRAIN, "--n_layer", "--n_layer needs a value"),
    (TRAIN, "--n_layer=0", "--n_layer must be at least 1 and at most 1000, not 0"),
    (TRAIN, "--n_layer=-2", "--n_layer must be at least 1"),
    (TRAIN, "--n_layer=two", "--n_layer must be a whole number"),
    (TRAIN, "--n_layer=2.5", "--n_layer must be a whole number"),
    (TRAIN, "--n_layer=1e2", "--n_layer must be a whole number"),
    (TRAIN, "--n_layer=", "--n_layer must be a whole number"),
    (TRAIN, "--n_layer=99999999999999999999", "--n_layer must be at least 1 and at most 1000"),
    (TRAIN, "--n_embd=130", "--n_embd must be a multiple of --n_head (4), not 130"),
    (TRAIN, "--n_head=3", "--n_embd must be a multiple of --n_head (3)"),
    (TRAIN, "--block_size=0", "--block_size must be at least 1"),
    (TRAIN, "--batch_size=0", "--batch_size must be at least 1"),
    (TRAIN, "--grad_accum=0", "--grad_accum must be at least 1"),
    (TRAIN, "--max_steps=0", "--max_steps must be at least 1"),
    (TRAIN, "--max_steps=99999999999", "--max_steps must be at most 2147483647"),
    (TRAIN, "--lr=0", "--lr must be above 0"),
    (TRAIN, "--lr=-1e-3", "--lr must be above 0"),
    (TRAIN, "--lr=nan", "--lr must be a finite number"),
    (TRAIN, "--lr=inf", "--lr must be a finite number"),
    (TRAIN, "--lr=1e999", "--lr must be a finite number"),
    (TRAIN, "--lr=fast", "--lr must be a finite number"),
    (TRAIN, "--lr=1e-4 --min_lr=1e-3", "--min_lr must be at most --lr (0.0001), not 0.001"),
    (TRAIN, "--warmup_steps=50 --max_steps=10", "--warmup_steps must be at most --max_steps (10), not 50"),
    (
        TRAIN,
        "--config=modern-tales --max_steps=10",
        "warmup_steps = 35 is from modern-tales, --warmup_steps changes it",
    ),
    (TRAIN, "--minutes=1 --max_steps=10", "--minutes finds out how many steps fit into the time"),
    (TRAIN, "--dropout=1", "--dropout must be at least 0 and below 1, not 1.0"),
    (TRAIN, "--dropout=-0.1", "--dropout must be at least 0 and below 1"),
    (TRAIN, "--beta2=1", "--beta2 must be at least 0 and below 1"),
    (TRAIN, "--weight_decay=-1", "--weight_decay must be at least 0"),
    (TRAIN, "--grad_clip=-1", "--grad_clip must be at least 0"),
    (TRAIN, "--seed=-1", "--seed must be at least 0"),
    (TRAIN, "--seed=9223372036854775808", "--seed must be at least 0 and at most 9223372036854775807"),
    (TRAIN, "--activation=swish", "--activation must be relu or gelu or relu2 or swiglu, not 'swish'"),
    (TRAIN, "--tokenizer=words", "--tokenizer must be bpe or char, not 'words'"),
    (TRAIN, "--backend=tpu", "--backend must be auto or numpy or cupy, not 'tpu'"),
    (TRAIN, "--dtype=float16", "--dtype must be float32 or float64 or tf32 or bfloat16, not 'float16'"),
    (TRAIN, "--dtype=bfloat16 --backend=numpy", "--dtype bfloat16 needs --backend cupy"),
    (TRAIN, "--tokenizer=char --vocab_size=99", "--vocab_size goes with --tokenizer bpe"),
    (TRAIN, "--vocab_size=0", "--vocab_size must be at least 1"),
    (TRAIN, "--bias=maybe", "--bias must be true or false"),
    (TRAIN, "--no_n_layer", "there is no flag --no_n_layer"),
    (TRAIN, "--threads=0", "--threads must be at least 1"),
    (TRAIN, "--keep=0", "--keep must be at least 1"),
    (TRAIN, "--checkpoint_interval=0", "--checkpoint_interval must be at least 1"),
    (TRAIN, "--eval_iters=0", "--eval_iters must be at least 1"),
    (TRAIN, "--resume --overwrite", "--resume goes on with a run and --overwrite starts it anew"),
    (TRAIN, "--out_dir=", "--out_dir must name a file or folder"),
    (TRAIN, "--data=", "--data must name a file or folder"),
    (TRAIN, "--data=a\0b", "--data must name a file or folder"),
    (TRAIN, "--data=\udcff", "--data must be valid UTF-8 text"),
    (SAMPLE, "--temprature=1", "there is no flag --temprature; did you mean --temperature?"),
    (SAMPLE, "--temperature=-1", "--temperature must be at least 0, not -1.0"),
    (SAMPLE, "--temperature=nan", "--temperature must be a finite number"),
    (SAMPLE, "--temperature=hot", "--temperature must be a finite number"),
    (SAMPLE, "--top_k=-1", "--top_k must be at least 0"),
    (SAMPLE, "--top_k=1.5", "--top_k must be a whole number"),
    (SAMPLE, "--top_p=0", "--top_p must be above 0 and at most 1"),
    (SAMPLE, "--top_p=1.1", "--top_p must be above 0 and at most 1"),
    (SAMPLE, "--frequency_penalty=3", "--frequency_penalty must be at least -2 and at most 2"),
    (SAMPLE, "--presence_penalty=nan", "--presence_penalty must be a finite number"),
    (SAMPLE, "--max_new_tokens=0", "--max_new_tokens must be at least 1"),
    (SAMPLE, "--num_samples=0", "--num_samples must be at least 1"),
    (SAMPLE, "--seed=x", "--seed must be a whole number"),
    (SAMPLE, "--stop=", "--stop must be a text that is not empty"),
    (SAMPLE, "--checkpoint=newest", "--checkpoint must be best, latest or the number of a step"),
    (SAMPLE, "--checkpoint=-1", "--checkpoint must be best, latest or the number of a step"),
    (SAMPLE, "--logprobs=3", "--logprobs needs --json"),
    (SAMPLE, "--interactive --json", "does not go with --json"),
    (SAMPLE, "--prompt=a --prompt_file=good.txt", "give one of the two"),
    (SAMPLE, "--threads=-1", "--threads must be at least 1"),
]

# What is wrong lies in a file or a folder.
WORLD = [
    # ---- texts ----
    ("no such text", TRAIN, "--data=nowhere.txt", 2, "no such file, folder or name", None),
    ("a name mistyped", TRAIN, "--data=tiny_shakespear", 2, "did you mean", None),
    ("a pattern without a match", TRAIN, "--data=*.nothing", 2, "no file matches this pattern", None),
    ("a folder without texts", TRAIN, "--data=empty", 2, "no .txt file in this folder", lambda: os.mkdir("empty")),
    ("a text given twice", TRAIN, "--data=good.txt --data=./good.txt", 2, "is given twice", None),
    ("an empty text", TRAIN, "--data=empty.txt", 1, "empty.txt is empty", file("empty.txt", b"")),
    ("a mark and nothing else", TRAIN, "--data=bom.txt", 1, "bom.txt is empty", file("bom.txt", b"\xef\xbb\xbf")),
    ("a short text", TRAIN, "--data=short.txt", 2, "too short for --block_size 64", file("short.txt", "one two\n")),
    ("one letter", TRAIN, "--data=one.txt --tokenizer=char", 2, "this is too little for any", file("one.txt", "a")),
    ("Latin-1", TRAIN, "--data=old.txt", 1, "old.txt is not UTF-8: byte 0xe9 at offset 3", file("old.txt", b"caf\xe9")),
    ("UTF-16", TRAIN, "--data=u.txt", 1, "the mark of UTF-16", file("u.txt", "hello".encode("utf-16"))),
    ("half a character", TRAIN, "--data=cut.txt", 1, "is not UTF-8", file("cut.txt", "三国".encode()[:-1])),
    ("random bytes", TRAIN, "--data=x.bin", 1, "is not UTF-8", file("x.bin", bytes(range(256)) * 40)),
    ("a surrogate in UTF-8", TRAIN, "--data=s.txt", 1, "is not UTF-8", file("s.txt", b"abc\xed\xa0\x80")),
    ("a device", TRAIN, "--data=/dev/zero", 2, "is a pipe or a device", None),
    ("a pipe", TRAIN, "--data=pipe", 2, "is a pipe or a device", lambda: os.mkfifo("pipe")),
    ("a link to itself", TRAIN, "--data=loop", 1, "cannot read loop", lambda: os.symlink("loop", "loop")),
    ("no such text to validate", TRAIN, "--val_data=nowhere.txt", 2, "--val_data nowhere.txt: no such file", None),
    ("a broken link", TRAIN, "--data=gone", 2, "no such file", lambda: os.symlink("nowhere", "gone")),
    ("memory as a text", TRAIN, "--data=/proc/self/mem", 1, "/proc/self/mem: Input/output error", None),
    ("too many pieces", TRAIN, "--data=good.txt --vocab_size=60000", 2, "vocab_size", None),
    ("too few pieces", TRAIN, "--data=good.txt --vocab_size=3", 2, "vocab_size", None),
    # ---- configurations ----
    ("no such configuration", TRAIN, "--config=nowhere.toml", 2, "there is no such configuration file", None),
    ("a folder as configuration", TRAIN, "--config=run", 2, "run is a folder", None),
    ("no TOML", TRAIN, "--config=c.toml", 1, "not valid TOML", file("c.toml", "n_layer: 3")),
    ("not UTF-8", TRAIN, "--config=c.toml", 1, "c.toml: not UTF-8 text (byte 0)", file("c.toml", b"\xff\xfe")),
    ("NULs", TRAIN, "--config=c.toml", 1, "not valid TOML", file("c.toml", b"\0" * 100)),
    ("an enormous line", TRAIN, "--config=c.toml", 1, "larger than", file("c.toml", b"#" * 2_000_000)),
    ("deep nesting", TRAIN, "--config=c.toml", 1, "not valid TOML", file("c.toml", "a=" + "[" * 9999)),
    ("an unknown name", TRAIN, "--config=c.toml", 2, "unknown name 'n_lair'", file("c.toml", "n_lair = 3")),
    ("a wrong type", TRAIN, "--config=c.toml", 2, "c.toml: n_layer must be a whole", file("c.toml", 'n_layer = "3"')),
    ("a table", TRAIN, "--config=c.toml", 2, "there are no tables here", file("c.toml", "[model]\nn_layer = 3")),
    ("a name twice", TRAIN, "--config=c.toml", 2, "lr is given twice", file("c.toml", "lr = 1\nbase_lr = 1")),
    ("itself", TRAIN, "--config=c.toml", 2, "cannot name another", file("c.toml", 'config = "c.toml"')),
    ("an infinite rate", TRAIN, "--config=c.toml", 2, "lr must be a finite number", file("c.toml", "lr = inf")),
    # ---- folders ----
    ("a file as folder", TRAIN, "--data=good.txt --out_dir=good.txt", 2, "good.txt is a file, not a folder", None),
    ("a file on the way", TRAIN, "--data=good.txt --out_dir=good.txt/run", 1, "good.txt", None),
    ("a run that is there", TRAIN, "--data=good.txt --out_dir=run", 2, "holds a run: go on with it (--resume)", None),
    ("files of someone", TRAIN, "--data=good.txt --out_dir=.", 2, "holds files that are no run", None),
    ("a folder that cannot be", TRAIN, "--data=good.txt --out_dir=/proc/run", 1, "/proc/run", None),
    ("a name too long", TRAIN, "--data=good.txt --out_dir=" + "x" * 300, 1, "File name too long", None),
    # ---- going on ----
    ("a damaged config", TRAIN, "--resume --out_dir=run", 1, "config.toml: not valid", file("run/config.toml", "=")),
    ("all checkpoints damaged", TRAIN, "--resume --out_dir=run --data=good.txt", 1,
     "no checkpoint in run can be used", several(*[
         overwrite(f"run/checkpoints/step-000000{n}/manifest.json", b"{}") for n in (10, 20)])),
    ("a state of no run", TRAIN, "--resume --out_dir=run --data=good.txt", 1,
     "state.json does not describe a run: flags is missing", None),
    # ---- runs to sample ----
    ("no run at all", SAMPLE, "", 2, "there is no run in out", None),
    ("no such folder", SAMPLE, "--out_dir=nowhere", 2, "nowhere does not exist", None),
    ("a file for a run", SAMPLE, "--out_dir=good.txt", 2, "good.txt is a file", None),
    ("a folder without a run", SAMPLE, "--out_dir=empty", 2, "empty holds no run", lambda: os.mkdir("empty")),
    ("no such step", SAMPLE, "--out_dir=run --checkpoint=7", 1, "run has no checkpoint of step 7; it has 10, 20", None),
    ("no checkpoint yet", SAMPLE, "--out_dir=new", 1, "new has no checkpoints", file("new/config.toml", "")),
    ("an unknown letter", SAMPLE, "--out_dir=run --prompt=Ω", 2, "Ω", None),
    ("no prompt file", SAMPLE, "--out_dir=run --prompt_file=nowhere", 2, "nowhere does not exist", None),
    ("a folder as prompt", SAMPLE, "--out_dir=run --prompt_file=run", 2, "run is a folder", None),
    ("a prompt in Latin-1", SAMPLE, "--out_dir=run --prompt_file=p", 1, "p is not UTF-8", file("p", b"\xe9")),
    ("weights cut short", SAMPLE, "--out_dir=run --checkpoint=latest", 1, "model.safetensors is damaged: 100 bytes",
     truncate(weights, 100)),
    ("empty weights", SAMPLE, "--out_dir=run --checkpoint=latest", 1, "model.safetensors is damaged: 0 bytes",
     truncate(weights, 0)),
    ("one bit of the weights", SAMPLE, "--out_dir=run --checkpoint=latest", 1, "model.safetensors is damaged",
     flip(weights, -9)),
    ("one bit of their header", SAMPLE, "--out_dir=run --checkpoint=latest", 1, "model.safetensors is damaged",
     flip(weights, 12)),
    ("a gigantic header", SAMPLE, "--out_dir=run --checkpoint=latest", 1, "model.safetensors is damaged",
     enormous_header),
    ("weights are a folder", SAMPLE, "--out_dir=run --checkpoint=latest", 1, "model.safetensors",
     lambda: (weights().unlink(), weights().mkdir())),
    ("weights are gone", SAMPLE, "--out_dir=run --checkpoint=latest", 1, "model.safetensors: No such file",
     lambda: weights().unlink()),
    ("no manifest", SAMPLE, "--out_dir=run --checkpoint=latest", 1, "manifest.json: No such file",
     lambda: latest("manifest.json").unlink()),
    ("a manifest of nothing", SAMPLE, "--out_dir=run --checkpoint=latest", 1, "manifest.json is damaged",
     overwrite(lambda: latest("manifest.json"), b"")),
    ("a manifest of NULs", SAMPLE, "--out_dir=run --checkpoint=latest", 1, "manifest.json is damaged",
     overwrite(lambda: latest("manifest.json"), b"\0" * 600)),
    ("a manifest that is huge", SAMPLE, "--out_dir=run --checkpoint=latest", 1, "manifest.json is damaged: 3000000 b",
     overwrite(lambda: latest("manifest.json"), b" " * 3_000_000)),
    ("a manifest nested deeply", SAMPLE, "--out_dir=run --checkpoint=latest", 1, "manifest.json is damaged",
     overwrite(lambda: latest("manifest.json"), b"[" * 100_000)),
    ("a state without a model", SAMPLE, "--out_dir=run", 1, "does not say what shape the model has",
     resaved(lambda weights, state: state.clear())),
    ("a model that cannot be", SAMPLE, "--out_dir=run", 1, "describes no model",
     resaved(lambda weights, state: state["model"].update(n_head=3))),
    ("a model of terabytes", SAMPLE, "--out_dir=run", 1, "does not fit",
     resaved(lambda weights, state: state["model"].update(n_embd=2**20, block_size=2**20))),
    ("whole numbers as weights", SAMPLE, "--out_dir=run", 1, "ln_f.bias",
     resaved(lambda weights, state: weights.update({"ln_f.bias": np.zeros(16, np.int64)}))),
    ("a tokenizer of another size", SAMPLE, "--out_dir=run", 1, "does not fit together", lambda: small_tokenizer()),
    ("no tokenizer", SAMPLE, "--out_dir=run", 1, "tokenizer", lambda: os.unlink("run/tokenizer.json")),
    ("a tokenizer cut short", SAMPLE, "--out_dir=run", 1, "tokenizer.json", truncate("run/tokenizer.json", 30)),
    ("no tokenizer but bytes", SAMPLE, "--out_dir=run", 1, "tokenizer.json", file("run/tokenizer.json", b"\xff" * 9)),
    ("another kind of tokenizer", SAMPLE, "--out_dir=run", 1, "tokenizer.json", tokenizer_header(kind="words")),
    ("another version", SAMPLE, "--out_dir=run", 1, "tokenizer.json", tokenizer_header(version=99)),
    ("letters that were changed", SAMPLE, "--out_dir=run", 1, "tokenizer.json", tokenizer_header(characters="abc")),
]  # fmt: skip


def small_tokenizer():
    from tokenizers import CharTokenizer

    CharTokenizer.train(["ab"]).save("run")


# The same as a user runs it, in a shell: (name, shell command, exit code, part of stderr's last line).
# $TRAIN and $SAMPLE run the commands; $TINY are flags of a training that takes a moment; $PLAIN takes from a command
# the right of the superuser to open every file.
SHELL = [
    ("a reader that leaves", "$TRAIN $TINY | head -1; exit ${PIPESTATUS[0]}", 141, ""),
    ("help for a reader that leaves", "$TRAIN --help | head -1; exit ${PIPESTATUS[0]}", 141, ""),
    ("a sample for one that leaves", "$SAMPLE --max_new_tokens 2000 | head -c 1; exit ${PIPESTATUS[0]}", 141, ""),
    ("a full disk for words", "$TRAIN $TINY > /dev/full", 1, "error: No space left on device"),
    ("no stdout", "$TRAIN $TINY >&-", 0, ""),
    ("no stdin and no terminal", "$TRAIN $TINY < /dev/null | cat; exit ${PIPESTATUS[0]}", 0, ""),
    ("no stderr", "$TRAIN --n_layer=0 2>&-", 2, ""),
    ("LANG=C and a Chinese path", "LC_ALL=C LANG=C $TRAIN $TINY --data '三国 1.txt' --out_dir '运行 1'", 0, ""),
    ("LANG=C and a Chinese text", "LC_ALL=C LANG=C $SAMPLE --prompt 好 | grep -q 好", 0, ""),
    ("LANG=C and a Chinese mistake", "LC_ALL=C LANG=C $TRAIN --中文", 2, "error: there is no flag --中文"),
    ("an unset TERM", "env -u TERM $TRAIN $TINY", 0, ""),
    ("no home", "env -u HOME $TRAIN $TINY", 0, ""),
    ("a cache that cannot be", "NANOGRAD_CACHE=/proc/none $TRAIN $TINY", 1, "set NANOGRAD_CACHE to another folder"),
    ("--debug", "$TRAIN --debug --n_layer=0 2>&1 | grep -c Traceback", 0, ""),
    ("Windows line ends", "$TRAIN $TINY --data windows.txt --config windows.toml", 0, ""),
    ("NULs in the text", "$TRAIN $TINY --data nul.txt", 1, "nul.txt is no text: 21% of its bytes are NUL"),
    ("one enormous line", "$TRAIN $TINY --data line.txt --tokenizer bpe", 0, ""),
    ("too little memory", "ulimit -v 3000000; $TRAIN $TINY --n_embd 65536", 1, "error: not enough memory"),
    ("a limit on files", "trap '' XFSZ; ulimit -f 8; $TRAIN $TINY", 1, "File too large; there is no"),
    (
        "a folder that is read-only",
        "mkdir ro; chmod 500 ro; $PLAIN $TRAIN $TINY --out_dir ro/r",
        1,
        "ro/r: Permission denied",
    ),
    (
        "a run that is read-only",
        "chmod 500 run; $PLAIN $TRAIN --resume --out_dir run --data good.txt",
        1,
        "cannot lock run",
    ),
    ("a text for others", "chmod 0 good.txt; $PLAIN $TRAIN $TINY", 1, "good.txt: Permission denied"),
    ("a folder for others", "mkdir d; chmod 0 d; $PLAIN $TRAIN $TINY --data d", 1, "cannot read d: Permission"),
    (
        "a configuration for others",
        "chmod 0 windows.toml; $PLAIN $TRAIN --config windows.toml",
        1,
        "windows.toml: Permission",
    ),
    ("a run for others", "chmod 0 run; $PLAIN $SAMPLE", 1, "run"),
    ("weights for others", "chmod 0 run/checkpoints/*/model*; $PLAIN $SAMPLE", 1, "safetensors: Permission denied"),
    ("a prompt for others", "chmod 0 good.txt; $PLAIN $SAMPLE --prompt_file good.txt", 1, "cannot read good.txt"),
    (
        "a disk that is full",
        "unshare -rm bash -c 'eval \"$MOUNT\"; $TRAIN $TINY --keep 90 --out_dir disk/r'",
        1,
        "MB free and the checkpoints need",
    ),
]
