"""Tensors of a file into a model, and back, a piece at a time: nothing is read twice or held twice.

What a source of tensors is: `tensors`, {name: shape}; `where(name)`, the file it is in, for messages; `dtype(name)`,
float32 or float64; `pieces(name, whole)`, (first row, rows) one after the other.
"""

import numpy as np

from gpt.errors import RunError
from gpt.hub.layout import Layout, Part
from gpt.model import GPT
from gpt.tensors.safetensors import check_finite, quoted


def check_layout(layout: Layout, source, skipped) -> None:
    """Raise RunError, naming the tensor, unless `source` has the layout's tensors, of their shapes, and no others but
    those for which `skipped(name)`."""
    wanted = {part.name: part for parts in layout.values() for part in parts}
    for name, part in wanted.items():
        if name not in source.tensors:
            raise RunError(f"{source.path} has no tensor {quoted(name)}, which its config asks for")
        if source.tensors[name] != part.shape:
            shape = source.tensors[name]
            raise RunError(
                f"{source.where(name)}: tensor {quoted(name)} has shape {shape}, and its config asks for {part.shape}"
            )
        source.dtype(name)
    for name in source.tensors:
        if name not in wanted and not skipped(name):
            raise RunError(
                f"{source.where(name)} has a tensor {quoted(name)}, for which a model of its config has no place"
            )


def fill(model: GPT, layout: Layout, source) -> None:
    """Read the layout's tensors into the model. Raises RunError for numbers that are not finite, or that should be a
    constant which this model does not have."""
    own = dict(model.named_parameters())
    missing = own.keys() - layout.keys()
    if missing:
        raise RunError(f"{source.path} has nothing for the parameter {min(missing)}")
    for name, parts in layout.items():
        for part in parts:
            value = own[name].value if name in own else None
            for start, rows in source.pieces(part.name, whole=bool(part.heads)):
                check_finite(part.name, rows, source.where(part.name))
                if value is not None:
                    put(model, value, part, start, rows)
                elif not (rows == part.constant).all():
                    raise RunError(f"{source.where(part.name)}: tensor {quoted(part.name)} is not {part.constant}")


def put(model: GPT, value, part: Part, start: int, rows: np.ndarray) -> None:
    """Write rows `start`, … of a part where they belong in the parameter's `value`: those that it has a place for, as a
    model with a shorter context has for learned positions."""
    if part.heads:
        rows = from_interleaved(rows, part.heads)
    if not part.transpose:
        rows = rows[: max(0, len(value) - start)]
    stop = start + len(rows)
    target = value if part.columns is None else value[..., slice(*part.columns)]
    if part.transpose:
        target[:, start:stop] = model.device.asarray(rows.T, dtype=value.dtype)
    else:
        target[start:stop] = model.device.asarray(rows, dtype=value.dtype)


def take(value: np.ndarray | None, part: Part) -> np.ndarray:
    """The tensor of a part, out of our parameter's value on the host, or the constant that stands for it."""
    if value is None:
        return np.full(part.shape, part.constant, dtype=np.float32)
    if part.columns is not None:
        value = value[..., slice(*part.columns)]
    if part.transpose:
        value = value.T
    return to_interleaved(value, part.heads) if part.heads else value


def from_interleaved(rows: np.ndarray, heads: int) -> np.ndarray:  # (H D, ...) -> (H D, ...)
    """Rotated pairs 2i, 2i + 1 of each head -> i, i + D/2."""
    return rows.reshape(heads, -1, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def to_interleaved(rows: np.ndarray, heads: int) -> np.ndarray:  # (H D, ...) -> (H D, ...)
    """The reverse."""
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)
