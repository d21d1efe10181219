"""CUDA kernels of the functions marked `@fused`: the same result in one launch or a few, for arrays on a GPU.

Each function here has the name and the arguments of its definition, which is where the formulas and their meaning are,
and launches kernels from a `.cu` file of this folder. Importing this package registers them all. A test compares every
one with its definition.

They keep to their definitions up to rounding, with three liberties, taken because they save a pass over memory:
GELU keeps its input, not its slope; masked_exp always subtracts the row's maximum, so that e and z differ from the
definition's by a common factor; cross_entropy leaves the logits in e and gives log z for z.
"""

from nanograd.device.device import contiguous as packed
from nanograd.device.device import name_of, xp_of
from nanograd.device.partial_sums import Parts
from nanograd.device.rng import keep_rule
from nanograd.kernels.attention import attention_backward, attention_forward, cached_attention
from nanograd.kernels.launching import c_type, elementwise, launch, registered, vector_width, wide
from nanograd.kernels.sums import (
    add_columns,
    add_parts,
    add_positions,
    dot_channels,
    gelu_backward_columns,
    split,
    square_sum,
)

__all__ = ["attention_backward", "attention_forward", "cached_attention"]
__all__ += ["add_parts", "add_positions", "dot_channels", "square_sum"]
MOST_IN_A_LANE = 4  # vectors of a row: MOST in layernorm.cu


def ids_of(ids):
    """Ids as the kernels take them, flat and of 32 bits."""
    ids = packed(ids.reshape(-1))
    return ids if name_of(ids.dtype) == "int32" else ids.astype("int32")


# elementwise.cu


@registered
def add(x, y, out):
    x, y = packed(x), packed(y)
    if y.shape == x.shape and y.dtype == x.dtype:
        elementwise("add", x, y, out, like=x)
    else:
        elementwise("add_row", x, y, out, y.size, like=x)


@registered
def add_rows(y, row):
    elementwise("add_row", y, row, y, row.size, like=y)


@registered
def fill_rows(y, row):
    elementwise("fill_row", row, y, row.size, like=y)


@registered
def scale_rows(x, row, y):
    x = packed(x)
    elementwise("scale_row", x, row, y, row.size, like=x)


@registered
def finish_branch(y, bias, mask, x):
    mask, x = (a if a is None else packed(a) for a in (mask, x))
    elementwise("finish_branch", y, bias, mask, x, y.shape[-1], like=y)


@registered
def multiply(x, y, out):
    x, y = packed(x), packed(y)
    elementwise("multiply", x, y, out, like=x)


@registered
def cast(x, out):
    elementwise("cast", x, out, like=out)


@registered
def relu(x, bias, y):
    x = packed(x)
    elementwise("relu", x, bias, y, x.shape[-1], like=x)


@registered
def relu_backward(dy, y, dx):
    dy = packed(dy)
    elementwise("relu_backward", dy, y, dx, like=dy)


@registered
def gelu_forward(layer, x, bias=None, inplace=False):
    x = packed(x)
    y = layer.buffer("y", like=x)
    elementwise("gelu", x, bias, y, x.shape[-1], like=x, family="gelu")
    layer.remember(x, bias)
    return y


@registered
def gelu_backward(layer, dy, inplace=False, dbias=None):
    (x, bias), dy = layer.recall(), packed(dy)
    layer.expect_shape("dy", dy, x.shape)
    dx = dy if inplace else layer.scratch("dx", like=dy)
    if x.size:
        gelu_backward_columns(dy, x, bias, dx, dbias)
    return dx


@registered
def relu_squared(x, bias, r, y):
    x = packed(x)
    elementwise("relu_squared", x, bias, r, y, x.shape[-1], like=x)


@registered
def relu_squared_backward(dy, r, dx):
    dy = packed(dy)
    elementwise("relu_squared_backward", dy, r, dx, like=dy)


@registered
def swiglu_forward(layer, gate, up, inplace=False):
    layer.expect_shape("up", up, gate.shape)
    gate, up = packed(gate), packed(up)
    y = layer.buffer("y", like=up)
    elementwise("swiglu", gate, up, y, like=gate)
    layer.remember(gate, up)
    return y


@registered
def swiglu_backward(layer, dy):
    gate, up = layer.recall()
    layer.expect_shape("dy", dy, gate.shape)
    dy = packed(dy)
    dgate, dup = layer.scratch("dgate", like=dy), layer.scratch("dup", like=dy)
    elementwise("swiglu_backward", dy, gate, up, dgate, dup, like=dy)
    return dgate, dup


# rmsnorm.cu, rope.cu: for arrays that may be the queries or keys in a wider array


@registered
def rms_normalize(x, weight, eps, xhat, y):
    x = x if _step(x) else packed(x)
    C, heads, rows = x.shape[-1], _heads(x), x.size // x.shape[-1]
    rstd = xp_of(x).empty((*x.shape[:-1], 1), dtype=wide(x))
    width = _row_width(x, xhat, y)
    sizes = float(eps), rows, C, heads, _step(x), _step(y)
    name = f"rms_normalize<{c_type(x)}, {width}>"
    launch("rmsnorm", name, (-(-rows // 8),), 256, x, weight, xhat, y, rstd, *sizes, like=x, views=True)
    return rstd


@registered
def rms_normalize_backward(dy, weight, xhat, rstd, dx, scratch, residual, dweight):
    dy, residual = dy if _step(dy) else packed(dy), residual if residual is None else packed(residual)
    C, heads, rows = dy.shape[-1], _heads(dy), dy.size // dy.shape[-1]
    if weight is not None:
        add_columns(packed(dy).reshape(rows, C), None, xhat.reshape(rows, C), dweight)
    width = _row_width(dy, xhat, dx, dx if residual is None else residual)
    arrays, sizes = (dy, weight, xhat, rstd, residual, dx), (rows, C, heads, _step(dy), _step(dx))
    name = f"rms_normalize_backward<{c_type(dy)}, {width}>"
    launch("rmsnorm", name, (-(-rows // 8),), 256, *arrays, *sizes, like=dy, views=True)


@registered
def rotate(x, cos, sin, layout, backward, y, scratch):
    x = x if _step(x) else packed(x)
    _, T, heads, D = x.shape
    n = x.size // 2
    sizes = n, T, heads, D // 2, int(layout == "interleaved"), -1.0 if backward else 1.0, _step(x), _step(y)
    if n:
        blocks = min(4096, -(-n // 256))
        launch("rope", f"rotate<{c_type(x)}>", (blocks,), 256, x, cos, sin, y, *sizes, like=x, views=True)


def _heads(x) -> int:
    """How many rows of `x` (..., heads, C) lie one after the other; what has no such axis has one head."""
    return x.shape[-2] if x.ndim == 4 else 1


def _step(x) -> int:
    """Elements from one position of `x`, (B, T, heads, C) or (..., C), to the next; 0 where there is no such step."""
    if x.flags.c_contiguous:
        return _heads(x) * x.shape[-1]
    if x.ndim != 4:
        return 0
    batch, position, head, channel = (stride // x.itemsize for stride in x.strides)
    whole = channel == 1 and head == x.shape[3] and batch == x.shape[1] * position and position > 0
    return position if whole else 0


def _row_width(*arrays) -> int:
    """vector_width for rows of arrays that may have gaps."""
    width = vector_width(*arrays, length=arrays[0].shape[-1])
    return 1 if any(_step(array) % width for array in arrays) else width


# layernorm.cu


@registered
def normalize(x, weight, bias, eps, xhat, y):
    x = packed(x)
    rows, C = x.shape
    rstd = xp_of(x).empty((rows, 1), dtype=wide(x))
    width = vector_width(x, xhat, y, length=C)
    name = f"normalize<{c_type(x)}, {width}>"
    launch("layernorm", name, (-(-rows // 8),), 256, x, weight, bias, xhat, y, rstd, float(eps), rows, C, like=x)
    return rstd


@registered
def normalize_backward(dy, weight, xhat, rstd, dx, scratch, residual, dweight, dbias):
    dy, residual = packed(dy), residual if residual is None else packed(residual)
    rows, C = dy.shape
    width = vector_width(dy, xhat, dx, dx if residual is None else residual, length=C)
    arrays = dy, weight, xhat, rstd, residual, dx
    if isinstance(dweight, Parts) and MOST_IN_A_LANE * 32 * width >= C:
        with split(rows, 1, dy, dbias, dweight) as (slabs, slab, step, sums, adds):
            name = f"normalize_backward_sums<{c_type(dy)}, {width}>"
            launch("layernorm", name, (1, slabs), 256, *arrays, *sums, rows, C, slab, step, *adds, like=dy)
        return
    name = f"normalize_backward<{c_type(dy)}, {width}>"
    launch("layernorm", name, (-(-rows // 8),), 256, *arrays, rows, C, like=dy)
    add_columns(dy, dbias, xhat, dweight)


# softmax.cu, losses.cu


@registered
def masked_exp(scores):
    queries, keys = scores.shape[-2:]
    z = xp_of(scores).empty((*scores.shape[:-1], 1), dtype=scores.dtype)
    launch("softmax", f"masked_exp<{c_type(scores)}>", (z.size,), 128, scores, z, queries, keys, like=scores)
    return z


@registered
def masked_exp_backward(dscores, e, delta, mask):
    keys, n = dscores.shape[-1], dscores.size
    name = f"masked_exp_backward<{c_type(dscores)}>"
    launch("softmax", name, (min(4096, -(-n // 256)),), 256, dscores, e, delta, mask, n, keys, like=dscores)


@registered
def cross_entropy(logits, targets, e):
    logits = packed(logits)
    rows, size = logits.shape
    xp = xp_of(logits)
    losses, z = xp.empty(rows, dtype=wide(logits)), xp.empty((rows, 1), dtype=wide(logits))
    width = vector_width(logits, e, length=size)
    name = f"cross_entropy<{c_type(logits)}, {width}>"
    threads = 1024 if size >= 8192 else 128
    launch("losses", name, (rows,), threads, logits, ids_of(targets), e, losses, z, size, like=logits)
    return losses, z


@registered
def cross_entropy_backward(e, z, targets, scale):
    rows, size = e.shape
    width = vector_width(e, length=size)
    name = f"cross_entropy_backward<{c_type(e)}, {width}>"
    threads = 1024 if size >= 8192 else 128
    launch("losses", name, (rows,), threads, e, z, ids_of(targets), float(scale), size, like=e)


# embedding.cu


@registered
def gather_rows(table, ids, y):
    C = table.shape[1]
    if ids.size:
        launch("embedding", f"gather_rows<{c_type(y)}>", (ids.size,), 128, table, ids_of(ids), y, C, like=y)


@registered
def scatter_add_rows(grad, ids, dy, atomics=False):
    dy = packed(dy)
    n, C = dy.shape
    ids = ids_of(ids)
    if atomics:
        launch("embedding", f"add_atomically<{c_type(dy)}>", (n,), 128, grad, ids, dy, C, like=dy)
    else:
        order = xp_of(ids).empty(n, dtype="int32")
        launch("embedding", f"sort_ids<{c_type(dy)}>", (-(-n // 128),), 128, ids, order, n, like=dy)
        width = vector_width(dy, length=C)
        grid = (n, -(-C // (32 * width)))
        launch("embedding", f"add_runs<{c_type(dy)}, {width}>", grid, 256, grad, ids, order, dy, n, C, like=dy)


# dropout.cu


@registered
def draw_mask(mask, rng, p):
    _drop(None, rng, p, mask, None)


@registered
def drop(x, rng, p, mask, y):
    x = packed(x)
    _drop(x, rng, p, mask, y)


def _drop(x, rng, p, mask, y):
    samples = mask.shape[0]
    size = mask.size // samples
    position = rng.reserve(size)
    words = -(-size // 4)
    blocks = -(-(position % 4 + words) // 4)
    keep_below, scale = keep_rule(p)
    grid = (min(4096, -(-samples * blocks // 256)),)
    stream = rng.seed, rng.step, rng.first, position
    name = f"drop<{c_type(mask)}>"
    launch("dropout", name, grid, 256, x, mask, y, samples, size, blocks, *stream, keep_below, scale, like=mask)


# adamw.cu


@registered
def adamw_update(p, g, m, v, lr, beta1, beta2, eps, decay, correction1, correction2, grad_scale):
    numbers = lr, beta1, beta2, eps, decay, correction1, correction2
    _over_arena("adamw", "adamw", (p, g, m, v), numbers, grad_scale)


def _over_arena(family, name, arrays, numbers, grad_scale):
    """Launch a kernel over flat arrays that changes nothing where grad_scale, a device scalar then, is not finite."""
    on_device = None if isinstance(grad_scale, float | int) else grad_scale
    host_scale = float(grad_scale) if on_device is None else 1.0
    like = arrays[0]
    blocks = min(4096, -(-like.size // 256))
    numbers = (*map(float, numbers), host_scale)
    launch(family, f"{name}<{c_type(like)}>", (blocks,), 256, *arrays, like.size, *numbers, on_device, like=like)


# muon.cu


@registered
def momentum_update(g, b, u, momentum, grad_scale):
    _over_arena("muon", "momentum", (g, b, u), (momentum,), grad_scale)


@registered
def add_update(p, u, lr, decay, grad_scale):
    _over_arena("muon", "add_update", (p, u), (lr, decay), grad_scale)
