"""Ten thousand damaged checkpoints: each one refused in one line, none accepted with changed data.

The long form: python -m pytest tests/gpt/runs/test_fuzz_checkpoint.py -m long
"""

import errno
import hashlib
import io
import json
import os
import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load

from gpt.errors import RunError
from gpt.runs.checkpoint import Manifest, load_checkpoint, load_latest_good, save_checkpoint
from gpt.tensors.safetensors import read_safetensors
from tests.support import ROOT

FILES = ["manifest.json", "model.safetensors", "optimizer.safetensors", "state.json"]
AT_LEAST = 10_000  # damaged checkpoints in the long form


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("fuzz")
    model = {"wte.weight": np.arange(6, dtype=np.float32).reshape(2, 3) + 0.5, "ln_f.bias": np.ones(2)}
    save_checkpoint(run_dir, 1, model, {"exp_avg.ln_f.bias": np.ones(2), "step": 1}, {"tokens": 5}, val_loss=1.5)
    return run_dir


def damages(data, rng):
    """Every truncation, every flipped bit, and insertions, deletions, repetitions and swaps in every place."""
    for length in range(len(data)):
        yield data[:length]
    for place in range(len(data)):
        for bit in range(8):
            yield data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
        yield data[:place] + data[place + 1 :]
        yield data[:place] + rng.randbytes(rng.randint(1, 9)) + data[place:]
        other = rng.randrange(len(data))
        low, high = sorted((place, other))
        yield data[:low] + data[high:] + data[low:high]
        yield data[:place] + rng.choice([b" ", b"\0", b"\n", b'"', b"9", b"]", b"\xff"]) + data[place + 1 :]


def refuse_all(run_dir, name, damaged):
    """Load the checkpoint with each damaged content of one file; returns how many there were."""
    file = run_dir / "checkpoints" / "step-00000001" / name
    whole, count = file.read_bytes(), 0
    try:
        for content in damaged:
            if content == whole:
                continue
            count += 1
            file.write_bytes(content)
            with pytest.raises(RunError) as raised:
                load_checkpoint(run_dir)
            message = str(raised.value)
            assert str(file.parent) in message and message.isprintable() and len(message) < 600, content
    finally:
        file.write_bytes(whole)
    assert load_checkpoint(run_dir).state == {"tokens": 5}
    return count


@pytest.mark.parametrize("name", FILES)
def test_damaged_files_are_refused(run_dir, name):
    data, rng = (run_dir / "checkpoints" / "step-00000001" / name).read_bytes(), random.Random(name)
    damaged = list(damages(data, rng))
    assert refuse_all(run_dir, name, rng.sample(damaged, min(300, len(damaged)))) > 200


@pytest.mark.long
@pytest.mark.slow
def test_all_damaged_files_are_refused(run_dir):
    folder, rng = run_dir / "checkpoints" / "step-00000001", random.Random(0)
    counts = [refuse_all(run_dir, name, damages((folder / name).read_bytes(), rng)) for name in FILES]
    print(f"{sum(counts)} damaged checkpoints, all refused")
    assert sum(counts) >= AT_LEAST


def load_signed(run_dir, name, content):
    """Load a checkpoint with one file's content replaced and the manifest signed anew, as an attacker would."""
    folder = run_dir / "checkpoints" / "step-00000001"
    before = {other: (folder / other).read_bytes() for other in FILES}
    contents = {**before, name: content}
    listed = {other: (len(contents[other]), hashlib.sha256(contents[other]).hexdigest()) for other in FILES[1:]}
    try:
        (folder / name).write_bytes(content)
        (folder / "manifest.json").write_bytes(Manifest(1, None, listed).to_bytes())
        return load_checkpoint(run_dir)
    except RunError as error:
        assert str(folder / name) in str(error) and str(error).isprintable() and len(str(error)) < 600
        return None
    finally:
        for other, data in before.items():
            (folder / other).write_bytes(data)


def same_as_the_package(found, content):
    """What was accepted is what the safetensors package reads in the same bytes."""
    theirs = load(content)
    assert found.keys() == theirs.keys()
    for name, value in found.items():
        assert (value.dtype, value.shape, value.tobytes()) == (
            theirs[name].dtype,
            theirs[name].shape,
            theirs[name].tobytes(),
        )
        assert np.isfinite(value).all()
    return True


def signed_damages(run_dir, some=None):
    folder, rng = run_dir / "checkpoints" / "step-00000001", random.Random(1)
    data = (folder / "model.safetensors").read_bytes()
    contents = list(damages(data, rng))
    outcomes = []
    for content in contents if some is None else rng.sample(contents, some):
        found = load_signed(run_dir, "model.safetensors", content)
        outcomes.append(found is not None and same_as_the_package(found.model_state, content))
    return outcomes


@pytest.mark.slow
def test_damage_with_a_right_hash_is_refused_or_read_right(run_dir):
    outcomes = signed_damages(run_dir, 300)
    assert 0 < sum(outcomes) < len(outcomes)


@pytest.mark.slow
def test_all_damage_with_a_right_hash(run_dir):
    outcomes = signed_damages(run_dir)
    assert 0 < sum(outcomes) < len(outcomes) and len(outcomes) > 2500


@pytest.mark.slow
def test_every_truncated_header_with_a_right_hash(run_dir):
    data = (run_dir / "checkpoints" / "step-00000001" / "model.safetensors").read_bytes()
    assert all(load_signed(run_dir, "model.safetensors", data[:length]) is None for length in range(len(data)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(value=json_values)
def test_any_state_with_a_right_hash(run_dir, value):
    found = load_signed(run_dir, "state.json", json.dumps(value).encode())
    if found:
        assert isinstance(value, dict) and found.state == value
    else:
        assert not isinstance(value, dict) or "NaN" in json.dumps(value) or "Infinity" in json.dumps(value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(value=json_values, field=st.sampled_from(["format", "version", "step", "val_loss", "files", "sha256", "x"]))
def test_any_field_of_a_manifest(run_dir, value, field):
    file = run_dir / "checkpoints" / "step-00000001" / "manifest.json"
    whole = file.read_bytes()
    fields = {**json.loads(whole), field: value}
    for text in (json.dumps(fields, indent=1) + "\n", json.dumps(value)):
        refuse_all(run_dir, "manifest.json", [text.encode()])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=st.sampled_from(FILES), content=st.binary(max_size=300))
def test_any_bytes_as_any_file(run_dir, name, content):
    refuse_all(run_dir, name, [content])
    if name != "manifest.json":
        load_signed(run_dir, name, content)


class FailingFile(io.FileIO):
    """A file on a disk with an unreadable spot."""

    after = 0

    def readinto(self, buffer):
        if self.tell() >= self.after:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().readinto(buffer)

    def read(self, size=-1):
        if self.tell() >= self.after:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(size)


def test_a_disk_that_fails_while_it_is_read(run_dir, monkeypatch):
    for after in (0, 8, 100):
        monkeypatch.setattr(FailingFile, "after", after)
        monkeypatch.setattr("builtins.open", lambda path, *_, **__: FailingFile(path))
        with pytest.raises(RunError, match=r"cannot read .*model\.safetensors: Input/output error"):
            read_safetensors(run_dir / "checkpoints" / "step-00000001" / "model.safetensors")
        with pytest.raises(RunError, match=r"no checkpoint .* can be used: cannot read"):
            load_latest_good(run_dir, pytest.fail)
        monkeypatch.undo()


def test_nothing_here_unpickles_or_evaluates():
    sources = ROOT / "gpt"
    for name in ("runs/checkpoint", "tensors/safetensors", "files", "runs/metrics", "runs/lock"):
        text = (sources / f"{name}.py").read_text("utf-8")
        assert not any(word in text for word in ("import pickle", "eval(", "exec(", "allow_pickle", "np.load"))
