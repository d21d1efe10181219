"""A run on a GPU without a GPU: the strict stand-in, what it refuses, and whole runs on it.

And one check of the stand-in itself: what it offers, and what the code asks of CuPy, exists in the real CuPy.
"""

import ast
import ctypes
import inspect
import json

import numpy as np
import pytest

from gpt import GPT, GPTConfig
from gpt.cli.command_line import parse_sample, parse_train
from gpt.sampling import command
from gpt.training import run as training
from gpt.training.anomaly import NotFinite
from gpt.training.step import Trainer
from nanograd import Device
from nanograd.device.device import KERNELS
from nanograd.optim.adamw import clip_grad_norm
from tests.kernels.test_kernels import definitions
from tests.support import ROOT, cuda_on_cpu, strict_xp

SHAPE = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 8, "dropout": 0.1, "activation": "gelu"}


@pytest.fixture
def array():
    return strict_xp.asarray(np.arange(6.0, dtype=np.float32).reshape(2, 3))


@pytest.fixture
def stand_in(monkeypatch):
    """The stand-in as CuPy, with the kernels on this CPU, or their definitions where nothing can build them."""
    if cuda_on_cpu.COMPILER is None:
        strict_xp.run_definitions(monkeypatch, definitions())
    return strict_xp.as_cupy(monkeypatch)


# It is as strict as CuPy


@pytest.mark.parametrize(
    "use",
    [
        lambda a: np.asarray(a),
        lambda a: np.sqrt(a),
        lambda a: a + np.ones((2, 3), np.float32),
        lambda a: np.ones((2, 3), np.float32) + a,
        lambda a: strict_xp.add(a, a, out=np.empty((2, 3), np.float32)),
        lambda a: a.__setitem__(0, np.ones(3, np.float32)),
        lambda a: strict_xp.add(a, a, where=True),
        lambda a: a.sum(initial=1.0),
        lambda a: [1, 2][a[0, 0]],
        lambda a: a.set(np.zeros((2, 3))),
        lambda a: a.astype(strict_xp.bfloat16_type()) + 1,
    ],
)
def test_refuses_what_cupy_refuses(array, use):
    with pytest.raises(TypeError):
        use(array)


def test_refuses_indices_that_cupy_takes_silently(array):
    with pytest.raises(IndexError):
        array[2]
    with pytest.raises(AssertionError, match="repeated"):
        array[strict_xp.asarray(np.array([0, 0]))] = 1.0


def test_has_no_matmul():
    assert not hasattr(strict_xp, "matmul") and not hasattr(strict_xp.ndarray, "__matmul__")


@pytest.mark.parametrize("look", [float, int, bool, lambda a: a.item(), lambda a: a.get(), lambda a: f"{a:.2f}", repr])
def test_counts_every_wait(array, look):
    total = array.sum()
    assert isinstance(total, strict_xp.ndarray) and total.shape == ()
    before = strict_xp.syncs
    look(total)
    assert strict_xp.syncs == before + 1


def test_notices_a_write_beside_an_array():
    array = strict_xp.zeros(3)
    array.check_guards("a kernel")
    ctypes.memset(array.data.ptr + array.nbytes, 0, 1)
    with pytest.raises(AssertionError, match="beside"):
        array.check_guards("a kernel")


# Runs on it


def train_on(device, steps, **flags):
    config = parse_train([f"--{name}={value}" for name, value in ({**SHAPE, "batch_size": 4, **flags}).items()])
    tokens = np.random.default_rng(0).integers(0, 13, 2000).astype(np.uint16)
    model = GPT(GPTConfig(vocab_size=13, **SHAPE), device)
    trainer = Trainer(model, config, tokens[:1800], tokens[1800:], 1)
    return trainer, [trainer.train_step() for _ in range(steps)]


def test_a_step_waits_for_nothing(stand_in):
    trainer, _ = train_on(Device("cupy"), 1, grad_accum=2)
    before = stand_in.syncs
    results = [trainer.train_step() for _ in range(3)]
    assert stand_in.syncs == before
    assert float(results[-1].loss) > 0 and float(results[-1].grad_norm) > 0
    assert stand_in.syncs == before + 2


def test_clip_grad_norm_waits_for_nothing(stand_in):
    trainer, _ = train_on(Device("cupy"), 1)
    before = stand_in.syncs
    norm = clip_grad_norm(trainer.model, 1e-3)
    assert stand_in.syncs == before
    assert float(norm) > 1e-3
    assert abs(float(clip_grad_norm(trainer.model, 1.0)) - 1e-3) < 1e-6


@pytest.mark.parametrize("grad_clip", [0.0, 1.0])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")
def test_numbers_that_are_not_finite_change_no_parameter(stand_in, grad_clip, bad):
    trainer, _ = train_on(Device("cupy"), 1, grad_clip=grad_clip)
    trainer.model.ln_f.weight.value[0] = bad
    before, moments = trainer.model.state_dict(), [m.get() for m in trainer.optimizer.exp_avg]
    for _ in range(2):
        trainer.train_step()
    for name, value in trainer.model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    for moment, kept in zip(trainer.optimizer.exp_avg, moments, strict=True):
        np.testing.assert_array_equal(moment.get(), kept)
    with pytest.raises(NotFinite):
        trainer.check()


def losses_on(*devices):
    return [[float(result.loss) for result in train_on(device, 20, grad_accum=2)[1]] for device in devices]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "bound"), [("float64", 1e-12), ("float32", 1e-5), ("tf32", 2e-3), ("bfloat16", 1e-2)]
)
def test_training_follows_numpy(stand_in, precision, bound):
    if precision == "bfloat16" and cuda_on_cpu.COMPILER is None:
        pytest.skip("definitions compute in one precision, bfloat16 mixes two")
    host = Device("numpy", "float64" if precision == "float64" else "float32")
    expected, actual = losses_on(host, Device("cupy", precision))
    np.testing.assert_allclose(actual, expected, rtol=bound)


def test_training_follows_numpy_with_definitions_for_kernels(monkeypatch):
    strict_xp.run_definitions(monkeypatch, definitions())
    expected, actual = losses_on(Device("numpy", "float64"), Device(strict_xp, "float64"))
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_products_are_rounded_to_tf32_when_asked(stand_in):
    for precision, compute_type in (("float32", 68), ("tf32", 77), ("float64", 70)):
        stand_in.gemm_calls.clear()
        train_on(Device("cupy", precision), 1)
        assert set(stand_in.gemm_calls) == {compute_type}


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("the cat sat on the mat; the dog sat on the log. " * 60, encoding="utf-8")
    return tmp_path


TEXT = "--data=text.txt --tokenizer=char"
SIZE = "--n_layer=1 --n_head=2 --n_embd=16 --block_size=8 --batch_size=4 --dropout=0.1"
PACE = "--lr=1e-3 --min_lr=1e-3 --warmup_steps=0 --eval_interval=4 --eval_iters=1 --log_interval=2 --max_steps=8"
RUN = f"{TEXT} {SIZE} {PACE} --sample_tokens=3 --out_dir=run --threads=1".split()


def losses_of(folder):
    lines = (folder / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = map(json.loads, lines)
    return {record["step"]: record["loss"] for record in records if "loss" in record}


@pytest.mark.slow
def test_train_save_resume_and_sample(stand_in, workplace, capsys):
    assert training.main(parse_train([*RUN, "--backend=cupy", "--max_steps=4"])) == 0
    assert training.main(parse_train(["--resume", "--out_dir=run", "--backend=cupy", "--max_steps=8"])) == 0
    assert "a CPU that plays a GPU" in capsys.readouterr().out
    resumed = losses_of(workplace)
    sample = ["--out_dir=run", "--backend=cupy", "--prompt=the ", "--max_new_tokens=12", "--temperature=0"]
    assert not command.main(parse_sample(sample))
    assert len(capsys.readouterr().out) >= 12
    assert training.main(parse_train([*RUN, "--backend=cupy", "--overwrite"])) == 0
    assert losses_of(workplace)[8] == resumed[8]


def test_the_flag_for_atomics_reaches_the_kernel(stand_in, workplace, monkeypatch):
    asked = []
    monkeypatch.setitem(KERNELS, "scatter_add_rows", lambda grad, ids, dy, atomics: asked.append(atomics))
    assert training.main(parse_train([*RUN, "--backend=cupy", "--max_steps=1"])) == 0
    again = ["--resume", "--out_dir=run", "--backend=cupy", "--atomics"]
    assert training.main(parse_train([*again, "--max_steps=2"])) == 0
    assert asked == [False, True]
    assert parse_train([*again]).atomics and not parse_train([*again[:-1], "--no-atomics"]).atomics


@pytest.mark.slow
def test_a_run_goes_on_on_the_other_backend(stand_in, workplace):
    assert training.main(parse_train([*RUN, "--backend=numpy"])) == 0
    expected = losses_of(workplace)
    for first, second in (("numpy", "cupy"), ("cupy", "numpy")):
        assert training.main(parse_train([*RUN, f"--backend={first}", "--overwrite", "--max_steps=4"])) == 0
        again = ["--resume", "--out_dir=run", f"--backend={second}", "--max_steps=8"]
        assert training.main(parse_train(again)) == 0
        actual = losses_of(workplace)
        assert abs(actual[8] - expected[8]) < 1e-3


# It offers what the real CuPy has

STAND_INS = {"RawModule", "ndarray"}


def xp_uses():
    """(where, dotted name, keywords) of each `xp.NAME` and `xp_of(…).NAME` in the code, called or not."""
    for folder in ("nanograd", "gpt"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
            inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and id(node) not in inner and (name := dotted(node)):
                    call = calls.get(id(node))
                    keywords = {k.arg for k in call.keywords if k.arg} if call else set()
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", name, keywords


def dotted(node):
    names = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        names.insert(0, node.id)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "xp_of":
        names.insert(0, "xp")
    for root in ("xp", "cupy"):
        if root in names[:-1]:
            return ".".join(names[names.index(root) + 1 :])
    return None


def test_the_code_is_searched():
    names = {name for _, name, _ in xp_uses()}
    assert {"empty", "minimum", "ascontiguousarray", "RawModule", "cuda.Stream"} <= names


def test_cupy_has_every_name_and_keyword_in_use():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed, whose signatures this reads")
    for where, name, keywords in xp_uses():
        thing = cupy
        for part in name.split("."):
            if name.startswith("cuda.cublas") and part == "cublas":
                thing = None  # needs the library itself; looked at below
                break
            assert hasattr(thing, part), f"{where}: CuPy has no {name}"
            thing = getattr(thing, part)
        try:
            parameters = inspect.signature(thing).parameters
        except (TypeError, ValueError):
            parameters = None if thing is None else ufunc_keywords(thing)
        if parameters is not None and not any(str(p).startswith("**") for p in getattr(parameters, "values", list)()):
            assert keywords <= set(parameters), f"{where}: {name} takes no {keywords - set(parameters)}"


def ufunc_keywords(thing):
    return {"out", "dtype", "casting"} if type(thing).__name__ == "ufunc" else None


def test_cupy_has_every_function_of_the_stand_in():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed, whose signatures this reads")
    offered = set(definitions()) | {"ndarray"}  # names that happen to be the same are not meant
    for name in ("empty", "zeros", "full", "empty_like", "zeros_like", "asarray", "ascontiguousarray"):
        ours = inspect.signature(getattr(strict_xp, name)).parameters
        theirs = inspect.signature(getattr(cupy, name)).parameters
        assert set(ours) <= set(theirs), name
    for name in ("add", "subtract", "multiply", "divide", "minimum", "maximum", "sqrt", "isfinite"):
        assert isinstance(getattr(cupy, name), cupy.ufunc)
    for name in vars(strict_xp.ndarray):
        if not name.startswith("__") and name not in ("host", "check_guards"):
            assert hasattr(cupy.ndarray, name), name
    assert offered


def test_cublas_takes_the_arguments_that_we_give():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed, whose signatures this reads")
    try:
        cublas = cupy.cuda.cublas
    except ImportError as error:
        pytest.skip(f"cuBLAS is not installed: {str(error).splitlines()[0]}")
    theirs = cublas.gemmEx.__doc__.splitlines()[0].split("(")[1].rstrip(")").split(", ")
    names = [parameter.split()[-1] for parameter in theirs]
    assert names == list(inspect.signature(strict_xp.gemmEx).parameters)
    for name, number in (("32F", 68), ("64F", 70), ("32F_FAST_TF32", 77)):
        assert getattr(cublas, f"CUBLAS_COMPUTE_{name}") == number
