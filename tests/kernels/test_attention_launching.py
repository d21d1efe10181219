"""How attention's kernels are launched: tiles, padding, shared memory, and what they are told."""

import pytest

from nanograd import Device, kernels
from nanograd.kernels import attention
from nanograd.layers.attention import Attention
from nanograd.layers.dropout import Dropout
from tests.support.gpu.launches import launched, zeros


def run_attention(
    monkeypatch, like, *, name="attention", tiles=3, channels=20, rows=70, start=0, most=101376, **options
):
    """(kernel, grid, threads, bytes of shared memory)."""
    heads, batch, keep_below, tf32 = (
        options.get(key, usual) for key, usual in (("heads", 3), ("batch", 2), ("keep_below", 65536), ("tf32", False))
    )
    asked = []
    monkeypatch.setattr(attention, "shared_memory", lambda xp, device: most)
    monkeypatch.setattr(
        attention,
        "launch",
        lambda family, name, grid, threads, *arguments, shared, **options: asked.append((name, grid, threads, shared)),
    )
    sizes, drops = (heads, options.get("sharing", 1), rows, start, channels), (0, 0, 0, 0, keep_below, 64, 1.0)
    attention._run(name, tiles, (like,), (), sizes, drops, batch, tf32)
    return asked[0]


SINGLE, DOUBLE = zeros(1), zeros(1, dtype="float64")
WIDEST = {"channels": 256, "tiles": 4}


@pytest.mark.parametrize(
    ("like", "options", "expected"),
    [
        (SINGLE, {}, ("attention<float, 32, 64, false>", (2, 3, 2), 256, 58624)),
        (SINGLE, {"most": 58624}, ("attention<float, 32, 64, false>", (2, 3, 2), 256, 58624)),
        (SINGLE, {"most": 58623}, ("attention<float, 32, 32, false>", (3, 3, 2), 256, 21120)),
        (SINGLE, {"keep_below": 65535}, ("attention<float, 32, 64, true>", (2, 3, 2), 256, 58624)),
        (SINGLE, {"rows": 64, "channels": 16}, ("attention<float, 16, 64, false>", (1, 3, 2), 256, 46336)),
        (SINGLE, {"channels": 128, "tiles": 4}, ("attention<float, 128, 32, false>", (3, 3, 2), 256, 74496)),
        (DOUBLE, WIDEST | {"most": 135936}, ("attention<double, 256, 16, false>", (5, 3, 2), 256, 135936)),
        (DOUBLE, WIDEST, ("attention<double, 256, 8, false>", (9, 3, 2), 64, 66944)),
        (DOUBLE, WIDEST | {"most": 66944}, ("attention<double, 256, 8, false>", (9, 3, 2), 64, 66944)),
        (SINGLE, {"tf32": True, "channels": 32}, ("attention_mma<float, 32, false>", (2, 3, 2), 128, 27648)),
        (SINGLE, {"tf32": True, "channels": 129}, ("attention<float, 256, 16, false>", (5, 3, 2), 256, 51520)),
        (SINGLE, {"rows": 30, "start": 100}, ("attention<float, 32, 64, false>", (1, 3, 2), 256, 58624)),
        (
            SINGLE,
            {"name": "attention_dkv", "tiles": 4, "rows": 30, "start": 100},
            ("attention_dkv<float, 32, 64, false>", (3, 3, 2), 256, 67072),
        ),
        (SINGLE, {"heads": 6, "sharing": 3}, ("attention<float, 32, 64, false>", (2, 6, 2), 256, 58624)),
        (
            SINGLE,
            {"name": "attention_dkv", "tiles": 4, "heads": 6, "sharing": 3},
            ("attention_dkv<float, 32, 64, false>", (2, 2, 2), 256, 67072),
        ),
    ],
)
def test_tiles_of_attention(monkeypatch, like, options, expected):
    assert run_attention(monkeypatch, like, **options) == expected


@pytest.mark.parametrize(("least", "most"), [(1, 16), (17, 32), (33, 64), (65, 128), (129, 256)])
def test_heads_are_padded_to_the_next_size_that_there_is(monkeypatch, least, most):
    for channels in (least, most):
        assert run_attention(monkeypatch, SINGLE, channels=channels)[0].startswith(f"attention<float, {most}, ")


def test_how_many_tiles_lie_in_shared_memory(monkeypatch):
    layer, tiles = Attention(2, Dropout(0.0, device=Device("numpy"))), []
    layer.tf32 = False
    monkeypatch.setattr(attention, "_run", lambda name, n, *arguments: tiles.append((name, n)))
    launched(monkeypatch, kernels.attention_forward, layer, zeros(5, 3, 24))
    launched(monkeypatch, kernels.attention_backward, layer, zeros(5, 3, 8))
    launched(monkeypatch, kernels.cached_attention, zeros(5, 2, 1, 4), zeros(5, 2, 7, 4), zeros(5, 2, 7, 4), 6)
    assert tiles == [("attention", 3), ("attention_dq", 4), ("attention_dkv", 4), ("attention", 3)]


@pytest.mark.parametrize(
    ("channels", "most", "expected"),
    [
        (128, 53248, ("attention_mma<bfloat16, 128, false>", (2, 3, 2), 128, 52224)),
        (128, 53247, ("attention<bfloat16, 128, 16, false>", (5, 3, 2), 256, 26944)),
        (129, 101376, ("attention<bfloat16, 256, 16, false>", (5, 3, 2), 256, 51520)),
    ],
)
def test_tensor_cores_take_what_fits(monkeypatch, channels, most, expected):
    like = zeros(1, dtype=pytest.importorskip("ml_dtypes").bfloat16)
    assert run_attention(monkeypatch, like, channels=channels, most=most) == expected


@pytest.mark.parametrize(
    ("blocks", "full"), [(84, True), (60, True), (59, False), (85, False), (119, False), (120, True), (168, True)]
)
def test_one_block_a_head_where_heads_keep_a_gpu_busy(monkeypatch, blocks, full):
    assert attention.fills(blocks, 84) is full
    like = zeros(blocks, 3, 64, dtype=pytest.importorskip("ml_dtypes").bfloat16)
    layer = Attention(1, Dropout(0.0, device=Device("numpy")))
    launched(monkeypatch, kernels.attention_forward, layer, zeros(blocks, 3, 192, dtype=like.dtype))
    (name, grid, *_), *rest = launched(monkeypatch, kernels.attention_backward, layer, like)
    whole = ("attention_whole_mma: attention_whole_mma<bfloat16, 64, false>", (1, 1, blocks))
    two = ("attention_mma: attention_dq_mma<bfloat16, 64, false>", (1, 1, blocks))
    assert (name, grid) == (whole if full else two) and len(rest) == (not full)


@pytest.mark.parametrize(
    ("channels", "dtype", "most", "whole"),
    [
        *((64, "bfloat16", 101376, True), (33, "bfloat16", 101376, True), (32, "bfloat16", 101376, False)),
        *((65, "bfloat16", 232448, False), (64, "float32", 232448, False), (64, "bfloat16", 81919, False)),
        (64, "bfloat16", 81920, True),
    ],
)
def test_which_heads_one_block_takes(monkeypatch, channels, dtype, most, whole):
    monkeypatch.setattr(attention, "shared_memory", lambda xp, device: most)
    like = zeros(1, dtype=pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else dtype)
    assert attention._whole(like, (84, 1, 3, 0, channels), 1) is whole
    assert not attention._whole(like, (84, 2, 3, 0, channels), 1), "heads that share keys share a block"


def test_what_attention_on_a_gpu_cannot_take(monkeypatch):
    room = "channels in float64 needs 66,944 bytes of shared memory, and this GPU has 65,536"
    with pytest.raises(ValueError, match=f"heads of 256 {room}"):
        run_attention(monkeypatch, DOUBLE, channels=256, tiles=4, most=65536)
    with pytest.raises(ValueError, match="at most 256 channels, not 257"):
        run_attention(monkeypatch, SINGLE, channels=257)
    with pytest.raises(ValueError, match="at most 65535 samples at once, not 65536"):
        run_attention(monkeypatch, SINGLE, batch=65536)
    with pytest.raises(ValueError, match="at most 65535"):
        run_attention(monkeypatch, SINGLE, heads=65536)
    assert run_attention(monkeypatch, SINGLE, batch=65535)[1] == (2, 3, 65535)


def test_the_mask_of_attention_reserves_its_numbers_block_by_block():
    dropout = Dropout(0.5, device=Device("numpy", seed=9))
    dropout.rng.begin_step(4, first=2)
    dropout.rng.reserve(4)
    nothing = (0, 0, 0, 0, 65536, 64, 1.0)
    assert attention._dropout_settings(None, 3, 70, 64) == nothing
    assert attention._dropout_settings(dropout.eval(), 3, 70, 64) == nothing
    assert attention._dropout_settings(Dropout(0.0, device=Device("numpy")), 3, 70, 64) == nothing
    assert attention._dropout_settings(dropout.train(), 3, 70, 64) == (9, 4, 2, 1, 32768, 64, 2.0)
    assert dropout.rng.position == 1 + 3 * 64 * 64 // 4 + 3 * 6 * 70 // 4


def test_the_sizes_and_steps_that_attention_is_told(monkeypatch):
    layer = Attention(2, Dropout(0.0, device=Device("numpy")))
    layer.tf32 = False
    told = [2, 1, 3, 0, 4, *(3 * 24, 4, 24) * 2, 0, 0, 0, 0, 65536, 64]  # heads, sharing, T, start, D, steps of q and k
    ((name, grid, _, numbers),) = launched(monkeypatch, kernels.attention_forward, layer, zeros(5, 3, 24))
    assert (name, grid, numbers) == ("attention: attention<float, 16, 64, false>", (1, 2, 5), told)
    dq, dkv = launched(monkeypatch, kernels.attention_backward, layer, zeros(5, 3, 8))
    assert (dq[0], dkv[0]) == tuple(f"attention: attention_{name}<float, 16, 64, false>" for name in ("dq", "dkv"))
    assert dq[3] == dkv[3] == told
    q, cache = zeros(5, 1, 24).reshape(5, 1, 6, 4).swapaxes(1, 2)[:, :2], zeros(5, 2, 7, 4)
    ((name, grid, _, numbers),) = launched(monkeypatch, kernels.cached_attention, q, cache, cache, 6)
    assert (name, grid) == ("attention: attention<float, 16, 64, false>", (1, 2, 5))
    assert numbers == [2, 1, 1, 6, 4, 24, 4, 24, 56, 28, 4, 0, 0, 0, 0, 65536, 64]
