"""Twins of the parameter-free part of attention: the layer's forward and backward, and one step over a KV cache.

bfloat16 goes to the tensor cores (attention_mma.cu), everything else, and heads of more than 128 channels, to
attention.cu. Neither stores scores: memory grows with T, not with its square.
"""

import math

from nanograd.backend import xp_of
from nanograd.kernels.launching import c_type, launch
from nanograd.noise import keep_rule

TENSOR_CORE_ROWS = 64  # as ROWS in attention_mma.cu
MOST_CHANNELS = {"bfloat16": (16, 32, 64, 128), "other": (16, 32, 64, 128, 256)}


def attention_forward(layer, qkv):  # (B, T, 3C) -> (B, T, C)
    from nanograd.attention import BLOCK

    if not qkv.flags.c_contiguous:
        qkv = xp_of(qkv).ascontiguousarray(qkv)
    B, T, C3 = qkv.shape
    C, heads = C3 // 3, layer.n_head
    xp = xp_of(qkv)
    q, k, v = (qkv[:, :, part * C : (part + 1) * C] for part in range(3))
    o, logz = xp.empty((B, T, C), dtype=qkv.dtype), xp.empty((B, heads, T), dtype=_wide(qkv))
    steps = (T * C3, C // heads, C3)
    sizes = (heads, T, 0, C // heads, 1 / math.sqrt(C // heads), *steps, *steps)
    drops = _dropout_settings(layer.dropout, heads, T, BLOCK)
    _run("attention", 3, (q, k, v), (o, logz), sizes, drops, T, B)
    layer.remember(qkv, o, logz, sizes, drops)
    return o


def attention_backward(layer, dy):  # (B, T, C) -> (B, T, 3C)
    qkv, o, logz, sizes, drops = layer.recall()
    if not dy.flags.c_contiguous:
        dy = xp_of(dy).ascontiguousarray(dy)
    B, T, C = dy.shape
    heads = layer.n_head
    xp = xp_of(dy)
    delta, dqkv = xp.empty((B, heads, T), dtype=_wide(dy)), xp.empty(qkv.shape, dtype=dy.dtype)
    n = B * T * heads
    name = f"attention_delta<{c_type(dy)}>"
    launch("attention", name, (-(-n // 8),), 256, dy, o, delta, T, heads, C // heads, n, like=dy)
    q, k, v = (qkv[:, :, part * C : (part + 1) * C] for part in range(3))
    dq, dk, dv = (dqkv[:, :, part * C : (part + 1) * C] for part in range(3))
    _run("attention_dq", 4, (q, k, v, dy, logz, delta), (dq,), sizes, drops, T, B)
    _run("attention_dkv", 4, (q, k, v, dy, logz, delta), (dk, dv), sizes, drops, T, B)
    return dqkv


def cached_attention(q, keys, values, start):  # (B, H, n, D) views, (B, H, T, D) arrays -> (B, n, H D)
    B, heads, n, channels = q.shape
    steps = [stride // q.itemsize for stride in q.strides[:3]]
    cache_steps = [stride // keys.itemsize for stride in keys.strides[:3]]
    o = xp_of(q).empty((B, n, heads * channels), dtype=q.dtype)
    sizes = (heads, n, start, channels, 1 / math.sqrt(channels), *steps, *cache_steps)
    _run("attention", 3, (q, keys, values), (o, None), sizes, _dropout_settings(None, heads, n, 64), n, B)
    return o


def _wide(like):
    return "float64" if like.dtype.name == "float64" else "float32"


def _dropout_settings(dropout, heads: int, T: int, block: int) -> tuple:
    """(seed, step, first, position, keep_below, block_rows, scale), having reserved the numbers that are drawn."""
    if dropout is None or not dropout.training or dropout.p == 0:
        return 0, 0, 0, 0, 65536, block, 1.0
    noise = dropout.noise
    position = noise.position
    for start in range(0, T, block):
        stop = min(start + block, T)
        noise.take(heads * (stop - start) * stop)
    keep_below, scale = keep_rule(dropout.p)
    return noise.seed, noise.step, noise.first, position, keep_below, block, scale


def _run(name: str, tiles: int, inputs, outputs, sizes, drops, rows: int, batch: int) -> None:
    """Launch one of the attention kernels: a block for each tile of rows of each head; `tiles` in shared memory."""
    like, heads, channels = inputs[0], sizes[0], sizes[3]
    tensor_cores = like.dtype.name == "bfloat16" and channels <= MOST_CHANNELS["bfloat16"][-1]
    padded = MOST_CHANNELS["bfloat16" if tensor_cores else "other"]
    D = next((most for most in padded if channels <= most), None)
    if D is None:
        raise ValueError(f"attention on a GPU takes heads of at most {padded[-1]} channels, not {channels}")
    if tensor_cores:
        tile, threads, family = TENSOR_CORE_ROWS, 128, "attention_mma"
        full_name = f"{name}_mma<bfloat16, {D}>"
        shared = tiles * tile * (D + 8) * 2
    else:
        most = xp_of(like).cuda.Device().attributes["MaxSharedMemoryPerBlockOptin"]
        size = 8 if like.dtype.name == "float64" else 4
        tile, shared = next(
            (tile, shared)
            for tile in (64, 32, 16)
            for shared in [size * (tiles * tile * (D + 1) + 2 * tile * (tile + 1))]
            if shared <= most or tile == 16
        )
        threads, family, full_name = 256, "attention", f"{name}<{c_type(like)}, {D}, {tile}>"
    blocks = -(-(sizes[2] + rows if name == "attention_dkv" else rows) // tile)
    grid = (blocks, batch * heads)
    launch(family, full_name, grid, threads, *inputs, *outputs, *sizes, *drops, like=like, shared=shared, views=True)
