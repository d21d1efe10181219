"""Launches of the kernels for attention without its matrices: forward and backward, and one step over a KV cache.

bfloat16 and TF32 go to the tensor cores (attention_mma.cu), everything else, and heads of more than 128 channels, to
attention.cu. Neither stores scores: memory grows with T, not with its square.

Backward is a kernel for dq and one for dk and dv, seven products of T x T together. Five are enough where one block of
threads does all of a head (attention_whole_mma.cu): in bfloat16, for heads of 33 to 64 channels, and where there are
heads enough to keep a GPU busy.
"""

import functools
import math
from itertools import pairwise

from nanograd.device.device import contiguous, xp_of
from nanograd.device.partial_sums import Parts
from nanograd.device.rng import keep_rule
from nanograd.kernels.launching import c_type, launch, registered, wide
from nanograd.kernels.sums import add_positions

MOST_IN_GRID = 65535  # blocks of threads along the second and third axis of a grid
TENSOR_CORE_ROWS, TENSOR_CORE_GAP = 64, 16  # ROWS in tensor_cores.cuh, and the bytes that its GAPs come to
CHANNELS = 16, 32, 64, 128, 256  # a head's are padded to the next of these
TENSOR_CORE_CHANNELS = 128  # of a head on tensor cores, at most
WHOLE = 64  # channels that a head is padded to where one block does all of it
TILES = 64, 32, 16, 8  # rows of a tile on ordinary cores: the first that fits


@registered
def attention_forward(layer, qkv):  # (B, T, (H + 2K) D) -> (B, T, H D)
    from nanograd.layers.attention import BLOCK

    qkv = contiguous(qkv)
    layer.split(qkv)  # refuses another shape
    B, T, width = qkv.shape
    heads, D = layer.n_head, width // (layer.n_head + 2 * layer.n_kv_head)
    xp = xp_of(qkv)
    o, logz = xp.empty((B, T, heads * D), dtype=qkv.dtype), xp.empty((B, heads, T), dtype=wide(qkv))
    steps = (T * width, D, width)
    sizes = (heads, heads // layer.n_kv_head, T, 0, D, 1 / math.sqrt(D), *steps, *steps)
    drops = _dropout_settings(layer.dropout, heads, T, BLOCK)
    _run("attention", 3, _parts(layer, qkv), (o, logz), sizes, drops, B, layer.tf32)
    layer.remember(qkv, o, logz, sizes, drops)
    return o


@registered
def attention_backward(layer, dy, dbias=None):  # (B, T, H D) -> (B, T, (H + 2K) D)
    qkv, o, logz, sizes, drops = layer.recall()
    dy = contiguous(dy)
    layer.expect_shape("dy", dy, o.shape)
    B, T, _ = dy.shape
    heads = layer.n_head
    xp = xp_of(dy)
    delta, dqkv = xp.empty((B, heads, T), dtype=wide(dy)), xp.empty(qkv.shape, dtype=dy.dtype)
    dq, dk, dv = _parts(layer, dqkv)
    parts = _parts(layer, qkv)
    if _whole(dy, sizes, B):
        dq_sums, shared = xp.empty((B, heads, T, WHOLE), dtype="float32"), _bytes(8, WHOLE, dy.itemsize)
        here = isinstance(dbias, Parts) and sizes[1] == 1 and dbias.sums.slabs(B * T) >= B
        place, add = dbias.take() if here else (None, False)
        slabs = (len(dbias.sums.array), dbias.sums.grads.size) if here else (0, 0)
        name = f"attention_whole_mma<{c_type(dy)}, {WHOLE}, {_drop(drops)}>"
        arrays = *parts, dy, o, logz, dq, dk, dv, delta, dq_sums, place
        arguments = *arrays, *slabs, int(add), *sizes, *drops
        grid = 1, heads // sizes[1], B
        launch("attention_whole_mma", name, grid, 256, *arguments, like=dy, shared=shared, views=True)
    else:
        here = False
        _run("attention_dq", 4, (*parts, dy, o, logz), (dq, delta), sizes, drops, B, layer.tf32)
        _run("attention_dkv", 4, (*parts, dy, logz, delta), (dk, dv), sizes, drops, B, layer.tf32)
    if dbias is not None and not here:
        add_positions(dqkv.reshape(B * T, -1), dbias)
    return dqkv


def _whole(like, sizes, batch: int) -> bool:
    """Whether one block of threads does the backward pass of a whole head."""
    heads, sharing, _, _, channels = sizes[:5]
    if like.itemsize != 2 or not WHOLE // 2 < channels <= WHOLE or max(heads, batch) > MOST_IN_GRID:
        return False
    xp, device = xp_of(like), like.device.id
    room = _bytes(8, WHOLE, like.itemsize) + 8192 <= shared_memory(xp, device)
    return room and fills(batch * heads // sharing, multiprocessors(xp, device))


def fills(blocks: int, multiprocessors: int) -> bool:
    """Whether so many blocks, one at a time on each multiprocessor, take no longer than the two kernels: these have
    enough blocks for all multiprocessors at all times, but 7 / 5 of the work."""
    rounds = -(-blocks // multiprocessors)
    return 7 * blocks >= 5 * rounds * multiprocessors


def _parts(layer, qkv) -> list:  # (B, T, (H + 2K) D) -> views of queries, keys and values
    D = qkv.shape[2] // (layer.n_head + 2 * layer.n_kv_head)
    edges = [0, layer.n_head * D, (layer.n_head + layer.n_kv_head) * D, qkv.shape[2]]
    return [qkv[:, :, start:stop] for start, stop in pairwise(edges)]


@registered
def cached_attention(q, keys, values, start):  # (B, H, n, D) views, (B, K, T, D) arrays -> (B, n, H D)
    B, heads, n, channels = q.shape
    steps = [stride // q.itemsize for stride in q.strides[:3]]
    cache_steps = [stride // keys.itemsize for stride in keys.strides[:3]]
    o = xp_of(q).empty((B, n, heads * channels), dtype=q.dtype)
    sizes = (heads, heads // keys.shape[1], n, start, channels, 1 / math.sqrt(channels), *steps, *cache_steps)
    _run("attention", 3, (q, keys, values), (o, None), sizes, _dropout_settings(None, heads, n, 64), B, False)
    return o


def _dropout_settings(dropout, heads: int, T: int, block: int) -> tuple:
    """(seed, step, first, position, keep_below, block_rows, scale), having reserved the numbers that are drawn."""
    if dropout is None or not dropout.training or dropout.p == 0:
        return 0, 0, 0, 0, 65536, block, 1.0
    rng = dropout.rng
    position = rng.position
    for start in range(0, T, block):
        stop = min(start + block, T)
        rng.reserve(heads * (stop - start) * stop)
    keep_below, scale = keep_rule(dropout.p)
    return rng.seed, rng.step, rng.first, position, keep_below, block, scale


def _run(name: str, tiles: int, inputs, outputs, sizes, drops, batch: int, tf32: bool) -> None:
    """Launch one of the attention kernels, with a block of threads for each tile of rows of each head. A block holds
    `tiles` tiles in shared memory."""
    like, (heads, sharing, rows, first_query, channels) = inputs[0], sizes[:5]
    if name == "attention_dkv":  # whose rows are keys
        heads, rows = heads // sharing, first_query + rows
    most = shared_memory(xp_of(like), like.device.id)
    D, tile, shared, on_tensor_cores = _tiling(tiles, channels, like.itemsize, tf32, most)
    drop = _drop(drops)
    if on_tensor_cores:
        threads, family, full_name = 128, "attention_mma", f"{name}_mma<{c_type(like)}, {D}, {drop}>"
    else:
        threads, family = min(tile, 16) ** 2, "attention"  # SIDE x SIDE
        full_name = f"{name}<{c_type(like)}, {D}, {tile}, {drop}>"
    if max(heads, batch) > MOST_IN_GRID:
        raise ValueError(f"attention on a GPU takes at most {MOST_IN_GRID} samples at once, not {batch}")
    grid = (-(-rows // tile), heads, batch)
    launch(family, full_name, grid, threads, *inputs, *outputs, *sizes, *drops, like=like, shared=shared, views=True)


def _drop(drops) -> str:
    """Whether any weights are dropped, as C++ writes it."""
    return "true" if drops[4] < 65536 else "false"


def _bytes(tiles: int, D: int, itemsize: int) -> int:
    """Bytes of shared memory for `tiles` tiles on tensor cores."""
    return tiles * TENSOR_CORE_ROWS * (D * itemsize + TENSOR_CORE_GAP)


def _tiling(tiles: int, channels: int, itemsize: int, tf32: bool, most: int) -> tuple[int, int, int, bool]:
    """How a kernel holds `tiles` tiles in at most `most` bytes of shared memory, as (channels that a head is padded to,
    rows of a tile, bytes, whether on tensor cores). Raises ValueError where no tile is small enough."""
    D = next((padded for padded in CHANNELS if channels <= padded), None)
    if D is None:
        raise ValueError(f"attention on a GPU takes heads of at most {CHANNELS[-1]} channels, not {channels}")
    shared = _bytes(tiles, D, itemsize)
    if (tf32 or itemsize == 2) and D <= TENSOR_CORE_CHANNELS and shared + 1024 <= most:
        return D, TENSOR_CORE_ROWS, shared, True
    for tile in TILES:
        held = tiles * tile * (D + 1) + 2 * tile * (tile + 1)
        shared = held * max(itemsize, 4)  # numbers are held in float at least
        if shared <= most:
            return D, tile, shared, False
    raise ValueError(
        f"attention with heads of {channels} channels in float{8 * max(itemsize, 4)} needs {shared:,} bytes of shared "
        f"memory, and this GPU has {most:,}"
    )


def check_heads(device, channels: int) -> None:
    """Raises ValueError where attention on `device`, forward or backward, has no room for heads so wide."""
    most = shared_memory(device.xp, device.xp.cuda.Device().id)
    _tiling(4, channels, device.dtype.itemsize, device.precision == "tf32", most)


@functools.cache
def shared_memory(xp, device: int) -> int:
    """The bytes of shared memory that a block of threads can have on a GPU. Cached, as asking CUDA is slow."""
    return xp.cuda.Device(device).attributes["MaxSharedMemoryPerBlockOptin"]


@functools.cache
def multiprocessors(xp, device: int) -> int:
    return xp.cuda.Device(device).attributes["MultiProcessorCount"]
