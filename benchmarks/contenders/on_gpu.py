"""The contenders of `python -m benchmarks.gpu`: this project, its matrix products alone, and PyTorch, on one GPU.

Each is called with a shape and a precision and returns (step, wait, memory in use, breakdown): step() queues one
training step, wait() returns when the GPU is done, memory in use is in bytes, and breakdown() says how many ms of a
step each kernel takes.
"""

import functools

import numpy as np

from benchmarks.contenders.shapes import Shape

BUSY = 8192  # rows and columns of a matrix whose product keeps a GPU busy for some 20 ms


def tokens_of(shape: Shape) -> np.ndarray:
    return np.random.default_rng(0).integers(0, shape.model.vocab_size, 2_000_000).astype(np.uint16)


def ours(shape: Shape, precision: str):
    from gpt.config.options import TrainConfig
    from gpt.model import GPT
    from gpt.training.step import Trainer
    from nanograd import Device

    device = Device("cupy", precision)
    config = TrainConfig(batch_size=shape.batch_size, block_size=shape.model.block_size, max_steps=10**6)
    tokens = tokens_of(shape)
    trainer = Trainer(GPT(shape.model, device), config, tokens, tokens, 1)
    gpu = device.xp.cuda.Device()
    return trainer.train_step, gpu.synchronize, lambda: used(gpu.mem_info), lambda: kernel_times(device.xp, trainer)


def matmuls(shape: Shape, precision: str):
    """The products of the dense layers alone, through the same gemm; attention's are not among them.

    Factors are random: a GPU multiplies zeros faster, as they take less power.
    """
    from nanograd import Device
    from nanograd.device.rng import RNG
    from nanograd.layers.dropout import draw_mask

    device = Device("cupy", precision)
    config, N = shape.model, shape.tokens()
    C, jobs = config.n_embd, []
    sizes = [(C, 3 * C), (C, C), (C, 4 * C), (4 * C, C)]

    @functools.cache
    def factor(*dims):
        array = device.empty(dims)
        draw_mask(array, RNG(0), 0.5)
        return array

    @functools.cache
    def product(*dims):
        return device.empty(dims)

    for n_in, n_out in [*sizes * config.n_layer, (C, config.vocab_size)]:
        x, w, dy = factor(N, n_in), factor(n_in, n_out), factor(N, n_out)
        jobs += [(x, w, product(N, n_out)), (x.T, dy, device.zeros((n_in, n_out))), (dy, w.T, product(N, n_in))]

    def step():
        for a, b, out in jobs:
            device.matmul(a, b, out)

    gpu = device.xp.cuda.Device()
    return step, gpu.synchronize, lambda: used(gpu.mem_info), dict


def in_torch(shape: Shape, precision: str, compiled: bool, where: str = "cuda"):
    try:
        import torch
    except ImportError:
        raise SystemExit("PyTorch is not installed") from None
    if where == "cuda" and not torch.cuda.is_available():
        raise SystemExit(f"PyTorch {torch.__version__} cannot use this GPU")

    from benchmarks.contenders.torch_gpt import TorchGPT

    torch.set_default_device(where)
    torch.set_float32_matmul_precision("high")  # TF32
    torch.manual_seed(0)
    model = TorchGPT(shape.model, sdpa=True)
    optimizer = model.adamw()
    forward = torch.compile(model) if compiled else model
    rng, tokens, T = np.random.default_rng(1), tokens_of(shape).astype(np.int64), shape.model.block_size

    def batch():
        windows = np.stack([tokens[s : s + T + 1] for s in rng.integers(0, len(tokens) - T - 1, shape.batch_size)])
        ids = torch.from_numpy(windows)
        return (ids.pin_memory() if where == "cuda" else ids).to(where, non_blocking=True)

    def step():
        ids = batch()
        with torch.autocast(where, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            loss = forward(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    def breakdown():
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            step()
            torch.cuda.synchronize()
        times = {event.key[:60]: event.self_device_time_total / 1e3 for event in profile.key_averages()}
        return dict(sorted(times.items(), key=lambda item: -item[1])[:12])

    if where == "cpu":
        return step, lambda: None, lambda: 0, dict
    return step, torch.cuda.synchronize, lambda: used(torch.cuda.mem_get_info()), breakdown


def used(mem_info: tuple[int, int]) -> int:
    free, total = mem_info
    return total - free


CONTENDERS = {
    "nanograd": ours,
    "matmuls": matmuls,
    "torch eager": lambda shape, precision: in_torch(shape, precision, compiled=False),
    "torch compiled": lambda shape, precision: in_torch(shape, precision, compiled=True),
}


def kernel_times(xp, trainer) -> dict[str, float]:
    """{kernel: ms in one step}, by events around every launch; the products under the name gemm.

    The GPU is kept busy until all of the step is queued, or an event would count the time that a launch takes.
    """
    from nanograd import kernels
    from nanograd.device import gemm as products
    from nanograd.kernels import attention, launching

    marks = []

    def timed(function, name_of):
        def call(*args, **kwargs):
            start, stop = xp.cuda.Event(), xp.cuda.Event()
            start.record()
            function(*args, **kwargs)
            stop.record()
            marks.append((name_of(*args), start, stop))

        return call

    launch, gemm = launching.launch, products.gemm
    timed_launch = timed(launch, lambda family, name, *_: name)
    for module in (launching, kernels, attention):
        module.launch = timed_launch
    products.gemm = timed(gemm, lambda a, b, *_: "gemm")
    busy = [xp.empty((BUSY, BUSY), dtype=np.float32) for _ in range(3)]
    try:
        for _ in range(6):
            gemm(*busy)
        timed(trainer.train_step, lambda: "the whole step, with all that is not listed")()
        xp.cuda.Device().synchronize()
    finally:
        for module in (launching, kernels, attention):
            module.launch = launch
        products.gemm = gemm
    times = {}
    for name, start, stop in marks:
        times[name] = times.get(name, 0.0) + xp.cuda.get_elapsed_time(start, stop)
    return dict(sorted(times.items(), key=lambda item: -item[1]))
