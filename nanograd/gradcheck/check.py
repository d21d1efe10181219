"""Check the gradients of any layer, yours included, against its own forward pass.

A layer of your own in five lines:

    >>> import numpy as np
    >>> from nanograd import Layer
    >>> from nanograd.gradcheck import check_layer
    >>> class Square(Layer):
    ...     def forward(self, x):
    ...         self.remember(x)
    ...         return x * x
    ...     def backward(self, dy):
    ...         return 2 * dy * self.recall()
    >>> report = check_layer(Square(), np.linspace(-1, 1, 6).reshape(2, 3))
    >>> report.ok
    True

`print(report)` shows, for each input and parameter by name, the largest error and where it is, and of a wrong one three
numbers, yours and the right ones, and what the mistake looks like (explain.py); `assert report.ok, report` is a test.

What is compared:

* on small shapes the full Jacobian: every output by every element of every input and parameter. Its columns
  come from the forward pass (derivatives.py: the complex step where the forward is analytic, fourth-order
  differences where it is not), its rows from the backward pass, one for each unit vector `dy`;
* on large ones, for a random `dy`, the derivatives along random directions and by single elements: those with
  the largest gradients and some at random.

All of it is in float64, at parameters moved away from where they are (a fresh LayerNorm, gain 1 and bias 0, hides
almost any mistake), with dropout's mask held fixed, and off the kinks of ReLU: a point that lies on one is moved.
Errors are relative to the largest derivative by that array (or, where those are tiny, to a thousandth of the
largest by any), so they mean the same for a loss as for a sum over a million elements.

The rules that every layer keeps besides (rules.py) are tried as well. The layer is left as it was.

`python -m nanograd.gradcheck` checks every layer of this package; `python -m gpt.gradcheck` adds whole GPTs and, with
`--config`, the model of a run.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from nanograd.gradcheck.derivatives import COMPLEX_STEP, DIFFERENCES, Function
from nanograd.gradcheck.explain import Clue, clues, largest_gaps
from nanograd.gradcheck.probe import ModelProbe, Probe
from nanograd.gradcheck.rules import broken_rules
from nanograd.layers.layer import Layer

TOLERANCE = {COMPLEX_STEP: 1e-12, DIFFERENCES: 1e-9}
FULL_COLUMNS, FULL_ENTRIES = 4000, 2_000_000  # a larger Jacobian is sampled
SMALL = 1e-3  # an array whose derivatives are smaller, next to the largest of all, is measured by this share of those
ZERO = 1e-13  # where no derivative is larger all are 0 but for rounding, and errors absolute
MOVES = 20  # of a point that lies on a kink


@dataclass
class Entry:
    """What was found for one input or parameter."""

    name: str
    shape: tuple[int, ...]
    compared: int = 0  # derivatives
    difference: float = 0.0  # the largest, absolute
    largest: float = 0.0  # derivative by this array
    error: float = 0.0  # the difference relative to the largest derivative
    worst: tuple[int, ...] | None = None  # the index where it is; None for a direction
    output: int | None = None  # which element of the output, flat; None for a sum over all by a random dy
    backward: float = 0.0  # what backward says there
    forward: float = 0.0  # what the forward pass says
    examples: list = field(default_factory=list)  # of a wrong one: (index, yours, right) for one random dy
    clues: list[Clue] = field(default_factory=list)  # what the mistake looks like
    jacobian: np.ndarray | None = field(default=None, repr=False)  # the forward pass's, where all of it was compared

    def compare(self, backward: np.ndarray, forward: np.ndarray, place: Callable) -> None:
        """Take in more derivatives; `place(flat index)` says which (index, output) each stands for."""
        self.compared += forward.size
        if not forward.size:
            return
        self.largest = max(self.largest, float(np.abs(forward).max()))
        with np.errstate(invalid="ignore"):
            gap = np.abs(backward - forward).ravel()
        gap[np.isnan(gap)] = np.inf
        worst = int(gap.argmax())
        if gap[worst] > self.difference or self.compared == forward.size:
            self.difference = float(gap[worst])
            self.worst, self.output = place(worst)
            self.backward, self.forward = float(backward.flat[worst]), float(forward.flat[worst])


@dataclass
class Report:
    """The outcome for one layer. `ok`: every error within `tolerance` and no rule broken."""

    name: str
    method: str
    full: bool  # the whole Jacobian, or a sample of it
    tolerance: float
    entries: list[Entry]
    broken: list[str] = field(default_factory=list)  # one line for each rule that the layer breaks
    moved: int = 0  # times that the point was moved off a kink

    @property
    def error(self) -> float:
        """The largest error of all."""
        return max((entry.error for entry in self.entries), default=0.0)

    @property
    def compared(self) -> int:
        return sum(entry.compared for entry in self.entries)

    @property
    def ok(self) -> bool:
        return not self.broken and all(entry.error <= self.tolerance for entry in self.entries)

    def __str__(self) -> str:
        what = "full Jacobian" if self.full else "sampled"
        head = f"{self.name}: {'ok' if self.ok else 'WRONG'} ({self.method}, {what}, bound {self.tolerance:.0e})"
        return "\n".join([head, *(f"  {line}" for line in self._lines()), *(f"  {line}" for line in self.broken)])

    def _lines(self) -> Iterator[str]:
        width = max((len(entry.name) for entry in self.entries), default=0)
        for entry in self.entries:
            where = "a random direction" if entry.worst is None else f"[{', '.join(map(str, entry.worst))}]"
            where += "" if entry.output is None else f" by output {entry.output}"
            sign = "  " if entry.error <= self.tolerance else "! "
            yield (
                f"{sign}{entry.name:{width}}  {entry.error:.1e} of {entry.largest:.3g}, {entry.compared} compared; "
                f"worst at {where}: backward {entry.backward:.6g}, forward {entry.forward:.6g}"
            )
            if entry.examples:
                some = [f"{list(index)} {yours:.6g}, right {right:.6g}" for index, yours, right in entry.examples]
                yield f"    for a random dy, yours: {'; '.join(some)}"
            yield from (f"    {clue}" for clue in entry.clues)


def check_layer(
    layer: Layer,
    *inputs: np.ndarray,
    method: str | None = None,
    full: bool | None = None,
    spread: float = 0.5,
    samples: int = 8,
    tolerance: float | None = None,
    rules: bool = True,
    seed: int = 0,
    before_forward: Callable[[], None] | None = None,
) -> Report:
    """Check `layer.backward` at `layer.forward(*inputs)`, arrays of any shape; integer inputs are not differentiated.

    method: "complex step" or "differences"; by default the first where it works. full: the whole Jacobian or a
    sample (`samples` elements and 4 directions of each array); by default it depends on the size. spread: deviation
    of the random numbers added to every parameter. tolerance: the error allowed, 1e-12 and 1e-9 for the two
    methods. rules: try the rules of rules.py too. before_forward: called before every forward pass, to
    rewind random numbers that are not in a generator of the layer.

    Raises TypeError for what is not a Layer, ValueError when backward returns gradients that do not fit the inputs
    or when two forward passes differ.
    """
    probe = Probe(layer, inputs, before_forward)
    rng = np.random.default_rng(seed)
    with probe.borrowed():
        values = _spread_out(probe.values(), set(probe.parameters), spread, rng)
        report = _check(probe, values, type(layer).__name__, method, full, samples, tolerance, rng)
        if rules:
            report.broken = broken_rules(probe, values, rng)
    return report


def check_model(
    model: Layer,
    idx: np.ndarray,
    targets: np.ndarray,
    *,
    method: str | None = None,
    full: bool | None = None,
    spread: float = 0.3,
    samples: int = 8,
    tolerance: float | None = None,
    threads: int = 1,
    seed: int = 0,
    before_forward: Callable[[], None] | None = None,
) -> Report:
    """Check every parameter's gradient of the loss of `_, loss = model(idx, targets)`, ids (B, T) each.

    As `check_layer`; with `spread=0` at the very parameters that the model has. With `threads` above 1 the gradients
    are those of nanograd.parallel.DataParallel, batch split and summed, which needs a model in float64.
    """
    probe = ModelProbe(model, idx, targets, before_forward)
    rng = np.random.default_rng(seed)
    with probe.borrowed():
        values = _spread_out(probe.values(), set(probe.parameters), spread, rng)
        if threads > 1:
            probe.gradients = lambda values, dy: _threaded_gradients(probe, values, threads)
        return _check(probe, values, type(model).__name__, method, full, samples, tolerance, rng)


def _check(probe, values, name, method, full, samples, tolerance, rng) -> Report:
    if method not in (None, COMPLEX_STEP, DIFFERENCES):
        raise ValueError(f"method must be {COMPLEX_STEP!r} or {DIFFERENCES!r}, not {method!r}")
    y = probe.output(values)
    if not np.array_equal(y, probe.output(values), equal_nan=True):
        raise ValueError(
            f"two forward passes of {name} on the same input differ: pass before_forward=, which is called before "
            "each and can rewind its random numbers"
        )
    tolerance = TOLERANCE if tolerance is None else dict.fromkeys(TOLERANCE, tolerance)
    moved = 0
    for _ in range(3):
        function, found, more = _off_kinks(probe, values, method, rng)
        moved += more
        report = _compare(probe, function, Report(name, found, full, tolerance[found], [], moved=moved), samples, rng)
        if report.ok or not function.unsure:
            break
        values = _spread_out(values, set(values), 1e-3, rng)  # a kink close by, or a wrong gradient: look elsewhere
        moved += 1
    return report


def _compare(probe, function, report, samples, rng) -> Report:
    """Fill in the report."""
    n_outputs = function.here().size
    columns = sum(value.size for value in function.values.values())
    if report.full is None:
        report.full = columns <= FULL_COLUMNS and columns * n_outputs <= FULL_ENTRIES
    entries = {n: Entry(n, value.shape) for n, value in function.values.items()}
    if report.full:
        _compare_jacobian(probe, function, report.method, n_outputs, entries)
    if n_outputs:
        dy = np.ones(1) if isinstance(probe, ModelProbe) else rng.standard_normal(n_outputs)
        dy /= np.linalg.norm(dy)
        _compare_sample(probe, function, report.method, dy, 0 if report.full else samples, entries, rng)
    overall = max((entry.largest for entry in entries.values()), default=0.0)
    for entry in entries.values():
        scale = max(entry.largest, SMALL * overall) if overall > ZERO else 1.0
        entry.error = entry.difference / scale
    report.entries = list(entries.values())
    if report.full and n_outputs and not isinstance(probe, ModelProbe):
        _explain(probe, function, report, rng)
    return report


def _explain(probe, function, report, rng) -> None:
    """Say what the wrong gradients look like, for a random dy."""
    wrong = [entry for entry in report.entries if not entry.error <= report.tolerance]
    if not wrong:
        return
    shape = probe.output_shape(function.values)
    dy = rng.standard_normal(shape)
    gradients = probe.gradients(function.values, dy.ravel())
    for entry in wrong:
        forward = entry.jacobian  # (outputs, *shape)

        def right(part, forward=forward):
            return np.tensordot(part.ravel(), forward, 1)

        yours = np.asarray(gradients[entry.name], dtype=np.float64)
        entry.examples = list(largest_gaps(yours, right(dy)))
        x = function.values[entry.name] if entry.name in probe.float_inputs else None
        entry.clues = clues(yours, right(dy), dy, x, right)


def _spread_out(values, names, spread, rng):
    """The values, with random numbers of standard deviation `spread` added to those of `names`."""
    return {n: v + spread * rng.standard_normal(v.shape) if n in names else v for n, v in values.items()}


def _off_kinks(probe, values, asked, rng):
    """(the forward pass as a Function at a point without a kink, the method that works there, how often it moved)."""
    moved = 0
    while True:
        function, method = Function(probe.output, values), asked
        direction = _unit_direction(values, rng)
        if method is None:
            method = COMPLEX_STEP if probe.on_host and function.is_analytic(direction) else DIFFERENCES
        function.unsure = False  # is_analytic may have been, at a kink
        if moved == MOVES or not function.at_kink(direction, method):
            return function, method, moved
        values = _spread_out(values, set(values), 1e-3, rng)
        moved += 1


def _unit_direction(values, rng):
    """A random direction of length 1 that moves everything: short, so that a large model meets few kinks on it."""
    direction = {n: rng.standard_normal(v.shape) for n, v in values.items()}
    length = np.sqrt(sum((v * v).sum() for v in direction.values()))
    return {n: v / length for n, v in direction.items()}


def _compare_jacobian(probe, function, method, n_outputs, entries) -> None:
    """Every output by every element: columns from the forward pass, rows from the backward pass."""
    rows = [probe.gradients(function.values, unit) for unit in np.eye(n_outputs)]
    for name, entry in entries.items():
        forward = np.empty((n_outputs, *entry.shape))
        for index in np.ndindex(entry.shape):
            forward[(slice(None), *index)] = function.along({name: _unit(entry.shape, index)}, method)
        backward = np.stack([row[name] for row in rows]) if rows else forward
        entry.jacobian = forward
        entry.compare(
            backward,
            forward,
            lambda flat, shape=forward.shape: (lambda i: (i[1:], i[0]))(_index(flat, shape)),
        )


def _compare_sample(probe, function, method, dy, samples, entries, rng) -> None:
    """For one `dy`: along random directions, and by elements, those of the largest gradients and some at random."""
    gradients = probe.gradients(function.values, dy)
    for name, entry in entries.items():
        gradient = np.asarray(gradients[name], dtype=np.float64)
        directions = [rng.standard_normal(entry.shape) for _ in range(4 if samples else 1)]
        backward = np.array([(gradient * direction).sum() for direction in directions])
        forward = np.array([dy @ function.along({name: direction}, method) for direction in directions])
        lengths = np.array([max(1.0, np.linalg.norm(direction)) for direction in directions])
        entry.compare(backward / lengths, forward / lengths, lambda flat: (None, None))
        if samples and gradient.size:
            largest = np.argsort(-np.abs(np.nan_to_num(gradient)), axis=None)[: (samples + 1) // 2]
            chosen = np.unique([*largest, *rng.integers(0, gradient.size, samples // 2)])
            indices = [_index(flat, entry.shape) for flat in chosen]
            forward = np.array([dy @ function.along({name: _unit(entry.shape, i)}, method) for i in indices])
            entry.compare(
                np.array([gradient[i] for i in indices]),
                forward,
                lambda flat, indices=indices: (indices[flat], None),
            )


def _unit(shape, index) -> np.ndarray:
    unit = np.zeros(shape)
    unit[index] = 1
    return unit


def _index(flat, shape) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(flat, shape))


def _threaded_gradients(probe, values, threads):
    """Gradients as a training step has them: replicas, each with a part of the batch, then one sum."""
    from nanograd.device.threads import ThreadPool
    from nanograd.parallel.data_parallel import DataParallel
    from nanograd.parallel.processes import may_fork

    model, (idx, targets) = probe.layer, probe.batch
    with probe.at_home(values):
        parallel = DataParallel(model, ThreadPool(threads), chunk=1, processes=may_fork())
        parallel.zero_grad()
        parallel.forward_backward(idx, targets, count=idx.size)
        parallel.reduce()
        return {name: np.array(p.grad) for name, p in model.named_parameters()}
