"""A run's checkpoints: everything needed to go on from a step as if the run had never stopped.

    out/<name>/checkpoints/step-00001000/
        model.safetensors        the parameters
        optimizer.safetensors    the moments and counters of the optimiser
        state.json               whatever else the training loop wants to find again
        manifest.json            step, validation loss, size and SHA-256 of the three, and of itself

**Saving** writes the four into a folder with a temporary name, each fsynced, and renames the folder last
(`gpt/files.py` says why in this order). So a folder named `step-...` is complete, whenever and however the
process or the machine stopped. Saving a step that is there already, as a run does that had to go on from an
earlier one, first renames the old folder to `step-….old`; readers accept that name too, so at every moment
one of the two stands there. Then the folders that are no longer wanted are pruned: the newest `keep` stay,
and the one with the lowest validation loss. Which one that is stands in the manifests alone: there is no
second file that could disagree with them.

**Loading** checks everything. The manifest must be, byte for byte, the text that its own content gives, with
its own hash; the other files must have the size and the hash that it states, be strict JSON or a strict
safetensors header, and hold no NaN. Nothing is unpickled or evaluated, and the only file names ever used are
the three above. A checkpoint that fails is a `RunError` of one line naming the file and the problem.

Saving and `remove_dead` are for the process that holds the run's lock; loading needs none. A reader whose
checkpoint is pruned or replaced under its hands starts over with what is there now.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gpt import files
from gpt.errors import RunError, UsageError
from gpt.files import explained, parse_json, read_bytes
from gpt.tensors.safetensors import check_finite, quoted, read_safetensors, write_safetensors

FORMAT, VERSION = "nanograd checkpoint", 1
MODEL, OPTIMIZER, STATE, MANIFEST = (
    "model.safetensors",
    "optimizer.safetensors",
    "state.json",
    "manifest.json",
)
JSON_LIMIT = 1 << 20  # bytes; a manifest has about 600, a state not many more
FOLDER = re.compile(r"step-(\d{8,15})(\.old)?")
TRIES = 5  # of a reader that finds its checkpoint replaced while it reads


@dataclass(frozen=True)
class Checkpoint:
    step: int
    val_loss: float | None
    model_state: dict[str, np.ndarray]
    optimizer_state: dict[str, np.ndarray | int]  # {} if it was not asked for
    state: dict
    path: Path


@dataclass(frozen=True)
class Manifest:
    step: int
    val_loss: float | None
    files: dict[str, tuple[int, str]]  # name -> (size in bytes, SHA-256 in hex)

    def to_bytes(self) -> bytes:
        """The one text that stands for this manifest; the last entry is the hash of the text without it."""
        fields = {
            "format": FORMAT,
            "version": VERSION,
            "step": self.step,
            "val_loss": self.val_loss,
            "files": {name: {"bytes": size, "sha256": sha256} for name, (size, sha256) in self.files.items()},
        }
        fields["sha256"] = hashlib.sha256(json.dumps(fields).encode("ascii")).hexdigest()
        return json.dumps(fields, indent=1).encode("ascii") + b"\n"


def save_checkpoint(
    run_dir: str | os.PathLike,
    step: int,
    model_state: Mapping[str, np.ndarray],
    optimizer_state: Mapping[str, np.ndarray | int],
    state: Mapping,
    val_loss: float | None = None,
    keep: int = 2,
) -> Path:
    """Save a step durably, then prune; returns the checkpoint's folder.

    model_state: {name: NumPy array}
    optimizer_state: the same, or integers
    state: anything JSON can say without NaN; tuples come back as lists
    val_loss: None when it was not measured
    keep: how many of the newest checkpoints stay, at least 1; the best one stays besides

    Memory: no copy of the arrays (a strided one is copied while it is written).

    Raises RunError, and leaves the earlier checkpoints as they were, if the disk fails or is full, or if a
    value or `val_loss` is NaN or infinite. ValueError for what is no state of a run at all.
    """
    if step < 0 or keep < 1:
        raise ValueError(f"step must be at least 0 and keep at least 1, not {step} and {keep}")
    folder = Path(run_dir) / "checkpoints"
    final = folder / f"step-{step:08d}"
    if val_loss is not None and not math.isfinite(val_loss):
        raise RunError(f"cannot save step {step}: the validation loss is {val_loss}")
    tensors = {
        MODEL: {name: np.asarray(value) for name, value in model_state.items()},
        OPTIMIZER: {name: np.asarray(value) for name, value in optimizer_state.items()},
    }
    for part in tensors.values():
        for name, value in part.items():
            check_finite(name, value, f"cannot save step {step}")
    text = json.dumps(dict(state), indent=1, allow_nan=False).encode("ascii") + b"\n"
    if len(text) > JSON_LIMIT:
        raise ValueError(f"a state of {len(text)} bytes: arrays do not belong there")

    files.make_folder(folder)
    temporary = files.new_folder(folder, shown=final)
    try:
        written = {}
        for name in (MODEL, OPTIMIZER, STATE):
            with files.new_file(temporary / name, shown=final / name) as file:
                if name == STATE:
                    file.write(text)
                else:
                    write_safetensors(file, tensors[name])
            written[name] = (file.size, file.sha256)
        manifest = Manifest(int(step), None if val_loss is None else float(val_loss), written)
        with files.new_file(temporary / MANIFEST, shown=final / MANIFEST) as file:
            file.write(manifest.to_bytes())
        files.sync_folder(temporary)
        _put_in_place(temporary, final)
    except BaseException:
        files.try_to_remove(temporary)
        raise
    _prune(folder, step, keep)
    return final


def load_checkpoint(run_dir: str | os.PathLike, which: str | int = "latest", *, optimizer: bool = True) -> Checkpoint:
    """Load and verify one checkpoint: "latest", "best" (lowest recorded validation loss; where none is recorded, as
    in a run stopped before its first evaluation, the latest) or a step.

    optimizer=False leaves the optimiser's file unread, as sampling does.

    Raises RunError if there is none or it is damaged (see the module's docstring), UsageError if `which` is
    none of the three. Memory: what the tensors take.
    """
    for _ in range(TRIES):
        path = _choose(Path(run_dir), which)
        before = _identity(path)
        try:
            return _read(path, optimizer)
        except RunError:
            if _identity(path) == before:
                raise
    raise RunError(f"{path} changes faster than it can be read: is a training running there?")


def load_latest_good(run_dir: str | os.PathLike, warn: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that is whole. None if the run has no checkpoint at all.

    `warn` is given one line for each newer one that is damaged. RunError if there are some and all are
    damaged: to start over then is not for a program to decide.
    """
    problems = []
    for path in reversed(_checkpoints(Path(run_dir))):
        try:
            found = _read(path, optimizer=True)
        except RunError as error:
            problems.append(str(error))
            continue
        for problem in problems:
            warn(f"{problem}; going back to the checkpoint of step {found.step}")
        return found
    if problems:
        raise RunError(f"no checkpoint in {run_dir} can be used: {problems[0]}")
    return None


def list_steps(run_dir: str | os.PathLike) -> list[int]:
    """The steps that have a checkpoint, ascending, without reading them."""
    return sorted({_step(path) for path in _checkpoints(Path(run_dir))})


def checkpoint_bytes(model_state: Mapping[str, np.ndarray], optimizer_state: Mapping[str, np.ndarray | int]) -> int:
    """About what one checkpoint takes on the disk, for `gpt.files.check_free_space`."""
    arrays = [np.asarray(value) for value in (*model_state.values(), *optimizer_state.values())]
    return sum(array.nbytes + 200 for array in arrays) + 10_000


def remove_dead(run_dir: str | os.PathLike) -> None:
    """Remove what processes left half written when they died. Call it once at the start, holding the lock."""
    files.remove_leftovers(Path(run_dir))
    files.remove_leftovers(Path(run_dir) / "checkpoints")


def check_tensors(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], path: str | os.PathLike) -> None:
    """Raise RunError, naming the tensor and both sides, unless names, shapes and dtypes are as expected."""
    for name in [*expected, *found]:
        if name not in found:
            raise RunError(f"{path} does not fit: it has no tensor {quoted(name)}")
        if name not in expected:
            raise RunError(f"{path} does not fit: the model has no tensor {quoted(name)}")
        ours, theirs = np.asarray(expected[name]), np.asarray(found[name])
        if ours.shape != theirs.shape:
            shapes = f"shape {theirs.shape}, the model needs {ours.shape}"
            raise RunError(f"{path} does not fit: tensor {quoted(name)} has {shapes}")
        if ours.dtype != theirs.dtype:
            dtypes = f"dtype {theirs.dtype}, the model needs {ours.dtype}"
            raise RunError(f"{path} does not fit: tensor {quoted(name)} has {dtypes}")


def _old(final: Path) -> Path:
    return final.with_name(final.name + ".old")


def _put_in_place(temporary: Path, final: Path) -> None:
    """Rename a complete folder to its final name; at each moment the old one or the new one is there."""
    old = _old(final)
    if final.exists():
        if old.exists():
            files.discard(old)
        files.rename(final, old)
    files.rename(temporary, final)
    files.sync_folder(final.parent)
    if old.exists():
        files.discard(old)


def _prune(folder: Path, step: int, keep: int) -> None:
    """Remove what is neither among the newest `keep` up to `step` nor the best of those.

    Later steps stay: they are from a run that went on further, from which this one went back.
    """
    candidates = [path for path in reversed(_checkpoints(folder.parent)) if _step(path) <= step]
    good = {}  # path -> manifest, newest first
    for path in candidates:
        try:
            manifest = _read_manifest(path)
        except RunError:
            continue  # damaged: it counts neither as one of the newest nor as the best
        if manifest.step not in {other.step for other in good.values()}:
            good[path] = manifest
    kept = {*list(good)[:keep], *_best(good)}
    removed = [path for path in candidates if path not in kept]
    for path in removed:
        files.discard(path)
    if removed:
        files.sync_folder(folder)


def _best(manifests: Mapping[Path, Manifest]) -> list[Path]:
    """The path with the lowest validation loss, the later of two equal ones; empty if none was measured."""
    measured = [path for path, manifest in manifests.items() if manifest.val_loss is not None]
    return sorted(measured, key=lambda path: (manifests[path].val_loss, -_step(path)))[:1]


def _checkpoints(run_dir: Path) -> list[Path]:
    """The checkpoints' folders, by ascending step; of one step, the old one before its replacement."""
    folder = run_dir / "checkpoints"
    if not files.is_folder(folder):
        return []
    with explained("read", folder):
        names = [entry.name for entry in os.scandir(folder)]
    found = [match for match in map(FOLDER.fullmatch, names) if match and _canonical(match)]
    return [folder / match[0] for match in sorted(found, key=lambda match: (int(match[1]), not match[2]))]


def _canonical(match: re.Match) -> bool:
    return match[1] == f"{int(match[1]):08d}"


def _step(path: Path) -> int:
    return int(FOLDER.fullmatch(path.name)[1])


def _choose(run_dir: Path, which: str | int) -> Path:
    paths = _checkpoints(run_dir)
    if not paths:
        raise RunError(f"{run_dir} has no checkpoints: is it the folder of a run, and has that reached its first one?")
    if which == "latest":
        return paths[-1]
    if which == "best":
        manifests = {}
        for path in paths:
            try:
                manifests[path] = _read_manifest(path)
            except RunError:
                if _identity(path) is not None:  # else it was pruned in this moment
                    raise
        best = _best(manifests)
        return best[0] if best else paths[-1]
    if type(which) is not int:
        raise UsageError(f'a checkpoint is "latest", "best" or a step, not {which!r}')
    of_step = [path for path in paths if _step(path) == which]
    if not of_step:
        steps = ", ".join(str(step) for step in list_steps(run_dir))
        raise RunError(f"{run_dir} has no checkpoint of step {which}; it has {steps}")
    return of_step[-1]


def _identity(path: Path) -> int | None:
    """The same as long as the same folder has this name."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


def _read_manifest(path: Path) -> Manifest:
    """The manifest of a checkpoint, verified, and the sizes of the files it lists. RunError if damaged."""
    file = path / MANIFEST
    text = read_bytes(file, JSON_LIMIT)

    def damaged(problem):
        return RunError(f"{file} is damaged: {problem}")

    fields = parse_json(text, damaged)
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise damaged("it is no checkpoint's manifest")
    if fields.get("version") != VERSION:
        version = fields.get("version")
        version = version if type(version) is int and abs(version) < 1 << 31 else "unknown"
        raise RunError(f"{file} has format version {version}, and this nanograd reads version {VERSION}")
    try:
        listed = {name: (record["bytes"], record["sha256"]) for name, record in fields["files"].items()}
        manifest = Manifest(fields["step"], fields["val_loss"], listed)
        canonical = manifest.to_bytes()
    except (AttributeError, KeyError, TypeError, RecursionError):
        raise damaged("fields are missing or of the wrong kind") from None
    if canonical != text:
        raise damaged("its hash is not that of its content")
    numbers = [manifest.step, *(size for size, _ in listed.values())]
    if set(listed) != {MODEL, OPTIMIZER, STATE} or not all(type(n) is int and n >= 0 for n in numbers):
        raise damaged("fields are missing or of the wrong kind")
    if not isinstance(manifest.val_loss, float | None):
        raise damaged("the validation loss is no number")
    if manifest.step != _step(path):
        raise damaged(f"it is the manifest of step {manifest.step}")
    for name, (size, _) in listed.items():
        with explained("read", path / name):
            found = os.stat(path / name).st_size
        if found != size:
            raise RunError(f"{path / name} is damaged: {found} bytes, where the manifest says {size}")
    return manifest


def _read(path: Path, optimizer: bool) -> Checkpoint:
    manifest = _read_manifest(path)
    text = read_bytes(path / STATE, JSON_LIMIT)

    def damaged(problem):
        return RunError(f"{path / STATE} is damaged: {problem}")

    if hashlib.sha256(text).hexdigest() != manifest.files[STATE][1]:
        raise damaged("its SHA-256 is not the one in the manifest")
    state = parse_json(text, damaged)
    if not isinstance(state, dict):
        raise damaged("it holds no JSON object")
    model_state = read_safetensors(path / MODEL, *manifest.files[MODEL])
    optimizer_state = read_safetensors(path / OPTIMIZER, *manifest.files[OPTIMIZER]) if optimizer else {}
    for name, value in optimizer_state.items():
        if value.ndim == 0 and value.dtype.kind in "iu":  # a counter
            optimizer_state[name] = int(value)
    return Checkpoint(manifest.step, manifest.val_loss, model_state, optimizer_state, state, path)
