"""A run's checkpoints: what is saved is loaded, exactly; what is damaged is named; what is pruned and kept."""

import json
import os
import shutil
import stat
import tracemalloc

import numpy as np
import pytest
from safetensors.numpy import load_file

from gpt.errors import RunError, UsageError
from gpt.runs import checkpoint
from gpt.runs.checkpoint import (
    Manifest,
    check_tensors,
    checkpoint_bytes,
    list_steps,
    load_checkpoint,
    load_latest_good,
    remove_dead,
    save_checkpoint,
)

FILES = ["manifest.json", "model.safetensors", "optimizer.safetensors", "state.json"]


def states(seed=0):
    rng = np.random.default_rng(seed)
    model = {"wte.weight": rng.normal(size=(5, 3)).astype("f4"), "ln_f.weight": rng.normal(size=3)}
    moments = {f"exp_avg.{name}": value * 0.5 for name, value in model.items()}
    return model, {**moments, "step": 7 + seed}, {"tokens": [1, 2], "corpus": "ab", "f": 0.1, "seed": seed}


def save(run_dir, step, seed=None, **options):
    return save_checkpoint(run_dir, step, *states(step if seed is None else seed), **options)


def same(found, seed):
    model, optimizer, state = states(seed)
    assert found.state == state and found.optimizer_state.keys() == optimizer.keys()
    for ours, theirs in ((model, found.model_state), (optimizer, found.optimizer_state)):
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert np.asarray(ours[name]).dtype == np.asarray(theirs[name]).dtype
            assert np.array_equal(ours[name], theirs[name])
    return True


def resign(path):
    """Give a checkpoint whose files were changed a manifest that vouches for them, as an attacker would."""
    import hashlib

    step = int(path.name.removeprefix("step-"))
    contents = {name: (path / name).read_bytes() for name in FILES[1:]}
    listed = {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in contents.items()}
    (path / "manifest.json").write_bytes(Manifest(step, None, listed).to_bytes())


def test_a_round_trip(tmp_path):
    path = save(tmp_path, 1000, val_loss=2.5)
    assert path == tmp_path / "checkpoints" / "step-00001000"
    assert sorted(file.name for file in path.iterdir()) == FILES
    found = load_checkpoint(tmp_path)
    assert same(found, 1000) and (found.step, found.val_loss, found.path) == (1000, 2.5, path)
    assert type(found.optimizer_state["step"]) is int
    assert load_checkpoint(tmp_path, optimizer=False).optimizer_state == {}
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_other_tools_read_it(tmp_path):
    path = save(tmp_path, 3)
    model, optimizer, _ = states(3)
    assert all(np.array_equal(value, model[name]) for name, value in load_file(path / FILES[1]).items())
    assert load_file(path / FILES[2])["step"] == optimizer["step"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_modes_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        path = save(tmp_path / "run", 1)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.iterdir()} == {0o640}
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (path, path.parent, path.parent.parent)} == {0o750}


def test_which_one_is_loaded(tmp_path):
    for step, val_loss in ((10, 3.0), (20, 2.0), (30, 2.5), (40, None)):
        save(tmp_path, step, val_loss=val_loss, keep=9)
    assert list_steps(tmp_path) == [10, 20, 30, 40]
    assert load_checkpoint(tmp_path).step == 40
    assert load_checkpoint(tmp_path, "best").step == 20
    assert load_checkpoint(tmp_path, 30).step == 30
    with pytest.raises(RunError, match="no checkpoint of step 15; it has 10, 20, 30, 40"):
        load_checkpoint(tmp_path, 15)
    for which in ("newest", None, 1.5, True):
        with pytest.raises(UsageError, match="latest"):
            load_checkpoint(tmp_path, which)


def test_none_at_all(tmp_path):
    for run_dir in (tmp_path, tmp_path / "nowhere"):
        assert load_latest_good(run_dir, pytest.fail) is None and list_steps(run_dir) == []
        with pytest.raises(RunError, match="has no checkpoints"):
            load_checkpoint(run_dir)


def test_the_best_where_no_loss_was_measured_is_the_latest(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 2)
    assert load_checkpoint(tmp_path, "best").step == 2


def test_the_newest_and_the_best_are_kept(tmp_path):
    losses = {10: 3.0, 20: 2.0, 30: 2.5, 40: 2.0, 50: 2.2, 60: None, 70: 4.0}
    kept = {}
    for step, val_loss in losses.items():
        save(tmp_path, step, val_loss=val_loss)
        kept[step] = list_steps(tmp_path)
    assert kept[20] == [10, 20] and kept[30] == [20, 30] and kept[50] == [40, 50]
    assert kept[70] == [40, 60, 70]  # of two equal losses the later one
    save(tmp_path, 80, val_loss=1.0, keep=1)
    assert list_steps(tmp_path) == [80]


def test_a_damaged_one_does_not_count_as_kept(tmp_path):
    for step in (10, 20, 30):
        save(tmp_path, step, keep=3)
    (tmp_path / "checkpoints" / "step-00000030" / "state.json").unlink()
    save(tmp_path, 40)
    assert list_steps(tmp_path) == [20, 40]


def test_going_back_does_not_cost_the_later_ones_their_place(tmp_path):
    for step in (10, 20, 30):
        save(tmp_path, step, keep=3)
    save(tmp_path, 15, keep=1)
    assert list_steps(tmp_path) == [15, 20, 30]
    save(tmp_path, 20, seed=99, keep=2)
    assert list_steps(tmp_path) == [15, 20, 30] and same(load_checkpoint(tmp_path, 20), 99)


def test_saving_a_step_again_replaces_it(tmp_path):
    save(tmp_path, 5, seed=1)
    save(tmp_path, 5, seed=2)
    assert same(load_checkpoint(tmp_path), 2)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000005"]


def test_the_one_being_replaced_can_be_read(tmp_path):
    path = save(tmp_path, 5, seed=1)
    old = path.rename(path.with_name(path.name + ".old"))  # killed between two renames
    assert same(load_checkpoint(tmp_path), 1) and same(load_latest_good(tmp_path, pytest.fail), 1)
    save(tmp_path, 6)
    assert list_steps(tmp_path) == [5, 6]
    save(tmp_path, 5, seed=2)
    assert same(load_checkpoint(tmp_path, 5), 2) and not old.exists()
    shutil.copytree(path, old)
    (old / "state.json").write_text("half removed")
    save(tmp_path, 5, seed=3)
    assert same(load_checkpoint(tmp_path, 5), 3) and not old.exists()


def test_one_that_was_replaced_does_not_count_twice(tmp_path):
    for step in (4, 5):
        path = save(tmp_path, step)
    shutil.copytree(path, path.with_name(path.name + ".old"))  # killed before the old one was removed
    save(tmp_path, 6, keep=3)
    assert list_steps(tmp_path) == [4, 5, 6] and len(list(path.parent.iterdir())) == 3


def test_a_reader_whose_checkpoint_vanishes_takes_what_is_there_now(tmp_path, monkeypatch):
    save(tmp_path, 1)
    real, saved = checkpoint.read_safetensors, []

    def prune_first(path, *expected):
        if not saved:
            saved.append(save(tmp_path, 2, keep=1))
        return real(path, *expected)

    monkeypatch.setattr(checkpoint, "read_safetensors", prune_first)
    assert same(load_checkpoint(tmp_path), 2)
    saved.clear()

    def replace_always(path, *expected):
        save(tmp_path, 2, seed=len(saved))
        saved.append(path)
        return real(path, *expected)

    monkeypatch.setattr(checkpoint, "read_safetensors", replace_always)
    with pytest.raises(RunError, match="is a training running there"):
        load_checkpoint(tmp_path)


def test_leftovers_of_the_dead_are_removed(tmp_path):
    path = save(tmp_path, 1)
    (path.parent / ".tmp-9-ab").mkdir()
    (path.parent / ".tmp-9-ab" / "model.safetensors").write_text("half")
    (tmp_path / ".tmp-9-cd").write_text("half")
    (path.parent / "mine.txt").write_text("x")
    assert load_checkpoint(tmp_path).step == 1
    remove_dead(tmp_path)
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["mine.txt", "step-00000001"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["checkpoints"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "longer", "flipped", "a folder"])
def test_damage_is_named_and_the_previous_one_taken(tmp_path, name, damage):
    save(tmp_path, 1)
    file = save(tmp_path, 2) / name
    data = file.read_bytes()
    file.unlink()
    if damage == "a folder":
        file.mkdir()
    elif damage != "missing":
        flipped = data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]
        file.write_bytes({"empty": b"", "cut": data[:-1], "longer": data + b" ", "flipped": flipped}[damage])
    with pytest.raises(RunError) as raised:
        load_checkpoint(tmp_path)
    assert str(file) in str(raised.value) and "\n" not in str(raised.value)
    lines = []
    assert same(load_latest_good(tmp_path, lines.append), 1)
    assert lines == [f"{raised.value}; going back to the checkpoint of step 1"]
    if name == "manifest.json":
        with pytest.raises(RunError, match=r"manifest\.json"):
            load_checkpoint(tmp_path, "best")
    shutil.rmtree(tmp_path / "checkpoints" / "step-00000001")
    with pytest.raises(RunError, match=r"no checkpoint in .* can be used"):
        load_latest_good(tmp_path, pytest.fail)


def test_a_renamed_folder_is_not_another_step(tmp_path):
    path = save(tmp_path, 1)
    path.rename(path.with_name("step-00000009"))
    with pytest.raises(RunError, match="manifest of step 1"):
        load_checkpoint(tmp_path)
    path.with_name("step-00000009").rename(path.with_name("step-000000001"))  # no name of ours
    assert list_steps(tmp_path) == []


@pytest.mark.parametrize("traversal", ["../../secret", "/etc/passwd", "model.safetensors/../x", ""])
def test_a_manifest_names_its_three_files_and_no_other(tmp_path, traversal):
    path = save(tmp_path, 1)
    listed = dict.fromkeys(FILES[1:], (1, "0"))
    for hostile in ({**listed, traversal: (1, "0")}, {FILES[1]: (1, "0"), traversal: (1, "0"), FILES[3]: (1, "0")}):
        (path / "manifest.json").write_bytes(Manifest(1, None, hostile).to_bytes())
        with pytest.raises(RunError, match=r"manifest\.json is damaged: fields are missing"):
            load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "change, problem",
    [
        ({"version": 2}, "format version 2, and this nanograd reads version 1"),
        ({"version": "x" * 5000}, "format version unknown"),
        ({"format": "other"}, "no checkpoint's manifest"),
        ({"files": 3}, "fields are missing"),
        ({"files": {"model.safetensors": 3}}, "fields are missing"),
        ({"step": 2}, "hash"),
        ({"val_loss": 0.5}, "hash"),
        ({"more": 1}, "hash"),
    ],
)
def test_a_changed_manifest(tmp_path, change, problem):
    path = save(tmp_path, 1) / "manifest.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, **change}, indent=1) + "\n")
    with pytest.raises(RunError, match=problem):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "manifest",
    [
        Manifest(1, "low", dict.fromkeys(FILES[1:], (1, "0"))),
        Manifest(1, True, dict.fromkeys(FILES[1:], (1, "0"))),
        Manifest("1", None, dict.fromkeys(FILES[1:], (1, "0"))),
        Manifest(-1, None, dict.fromkeys(FILES[1:], (1, "0"))),
        Manifest(1, None, dict.fromkeys(FILES[1:], (-1, "0"))),
        Manifest(1, None, dict.fromkeys(FILES[1:], (1.0, "0"))),
        Manifest(1, [[[[]]]], {name: (1, {"a": []}) for name in FILES[1:]}),
    ],
)
def test_a_manifest_with_a_right_hash_and_wrong_kinds(tmp_path, manifest):
    path = save(tmp_path, 1)
    (path / "manifest.json").write_bytes(manifest.to_bytes())
    with pytest.raises(RunError, match=r"manifest\.json is damaged"):
        load_checkpoint(tmp_path)


def test_a_hostile_state_with_a_right_hash(tmp_path):
    path = save(tmp_path, 1)
    for text, problem in (("[]", "no JSON object"), ('{"a": NaN}', "NaN"), ("[" * 99999, "deep")):
        (path / "state.json").write_text(text)
        resign(path)
        with pytest.raises(RunError, match=problem):
            load_checkpoint(tmp_path)
    os.truncate(path / "state.json", 1 << 30)
    listed = json.loads((path / "manifest.json").read_text())["files"]
    sizes = {name: (1 << 30 if name == "state.json" else r["bytes"], r["sha256"]) for name, r in listed.items()}
    (path / "manifest.json").write_bytes(Manifest(1, None, sizes).to_bytes())
    with pytest.raises(RunError, match="at most 1048576 are expected"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nothing_that_is_not_finite_is_saved(tmp_path, value):
    model, optimizer, state = states()
    for part in (model, optimizer):
        name = next(iter(part))
        kept, part[name] = part[name], np.array([1, value, 2], np.float32)
        with pytest.raises(RunError, match=f"cannot save step 3: tensor '{name}' has values that are NaN"):
            save_checkpoint(tmp_path, 3, model, optimizer, state)
        part[name] = kept
    with pytest.raises(RunError, match="validation loss is"):
        save_checkpoint(tmp_path, 3, model, optimizer, state, val_loss=value)
    assert list(tmp_path.iterdir()) == []


def test_mistakes_of_the_caller(tmp_path):
    model, optimizer, state = states()
    bad = [
        {"step": -1},
        {"keep": 0},
        {"model_state": {"a": np.ones(2, complex)}},
        {"state": {"loss": float("nan")}},
        {"state": {"text": "x" * (1 << 21)}},
    ]
    good = {"step": 1, "model_state": model, "optimizer_state": optimizer, "state": state}
    for change in bad:
        with pytest.raises(ValueError):
            save_checkpoint(tmp_path, **{**good, **change})
    with pytest.raises(TypeError):
        save_checkpoint(tmp_path, **{**good, "state": {"a": object()}})
    assert list_steps(tmp_path) == []
    save_checkpoint(tmp_path, np.int64(1), model, optimizer, state, val_loss=np.float32(0.1))
    assert load_checkpoint(tmp_path).val_loss == float(np.float32(0.1))


def test_a_mismatch_names_the_tensor_and_both_sides():
    model, _, _ = states()
    check_tensors(model, model, "a/b")
    other = {**model, "wte.weight": np.ones((4, 3), np.float32)}
    with pytest.raises(RunError, match=r"a/b .*'wte\.weight' has shape \(5, 3\), the model needs \(4, 3\)"):
        check_tensors(model, other, "a/b")
    other = {**model, "wte.weight": np.ones((5, 3))}
    with pytest.raises(RunError, match=r"dtype float32, the model needs float64"):
        check_tensors(model, other, "a/b")
    with pytest.raises(RunError, match=r"no tensor 'wte\.weight'"):
        check_tensors({}, model, "a/b")
    with pytest.raises(RunError, match=r"the model has no tensor 'wte\.weight'"):
        check_tensors(model, {}, "a/b")


def test_memory(tmp_path):
    """Saving copies nothing; loading holds the tensors and little else."""
    model = {f"w{i}": np.full((1024, 1024), i, np.float32) for i in range(4)}
    moments = {f"m{i}": np.full((1024, 1024), i, np.float32) for i in range(2)}
    total = sum(value.nbytes for value in (*model.values(), *moments.values()))
    assert total < checkpoint_bytes(model, moments) < 1.01 * total
    tracemalloc.start()
    try:
        save_checkpoint(tmp_path, 1, model, moments, {})
        assert tracemalloc.get_traced_memory()[1] < 0.1 * total
        tracemalloc.reset_peak()
        found = load_checkpoint(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 1.1 * total
    finally:
        tracemalloc.stop()
    assert found.model_state["w3"][-1, -1] == 3


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads peak memory from /proc")
def test_peak_memory_of_a_process(tmp_path):
    import subprocess
    import sys

    model = {f"w{i}": np.full((1024, 1024), i, np.float32) for i in range(64)}
    save_checkpoint(tmp_path, 1, model, {"step": 1}, {})
    program = """if True:
        import sys
        from gpt.runs.checkpoint import load_checkpoint
        def peak():
            with open("/proc/self/status") as file:
                return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
        before = peak()
        found = load_checkpoint(sys.argv[1])
        print(peak() - before)
    """
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1.2 * sum(value.nbytes for value in model.values())
