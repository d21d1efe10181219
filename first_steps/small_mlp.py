"""3 of 3. An MLP that learns: two linear layers and a function that is not linear between them.

    python first_steps/small_mlp.py

It learns "exclusive or": 1 when exactly one of two inputs is 1. No single linear layer can: its outputs for (0, 0) and
(1, 1) always add up to the same as those for (0, 1) and (1, 0), where 0 and 2 are wanted. A nonlinear function between
two layers, here ReLU, max(h, 0), is what makes it possible. Next: nanograd/reference/, where a GPT is built this way.
"""

try:
    import numpy as np
except ModuleNotFoundError:
    raise SystemExit("error: NumPy is not installed; python -m pip install numpy gets it") from None


def forward(x, W1, b1, W2, b2):
    h = x @ W1 + b1  # (N, 8)
    a = np.maximum(h, 0)  # (N, 8): ReLU
    y = a @ W2 + b2  # (N, 1)
    return h, a, y


def backward(dy, x, h, a, W2):
    """Forward's lines, from the last to the first. Each turns the gradient of its result into those of its inputs."""
    dW2 = a.T @ dy  # y = a W2 + b2, as in linear_layer.py
    db2 = dy.sum(0)  # b2 was added to every example: it collects from all
    da = dy @ W2.T
    dh = np.where(h > 0, da, 0)  # a = h where h > 0, else 0: the gradient passes where the number did
    dW1 = x.T @ dh  # h = x W1 + b1
    db1 = dh.sum(0)
    return dW1, db1, dW2, db2


def loss_of(y, target):
    return 0.5 * np.mean((y - target) ** 2)


def check(x, target, parameters, gradients, h=1e-6):
    """The largest difference between our gradients and differences, over all elements of all parameters."""
    worst = 0.0
    for p, gradient in zip(parameters, gradients, strict=True):
        for index in np.ndindex(p.shape):
            old = p[index]
            p[index] = old + h
            up = loss_of(forward(x, *parameters)[-1], target)
            p[index] = old - h
            down = loss_of(forward(x, *parameters)[-1], target)
            p[index] = old
            worst = max(worst, abs(gradient[index] - (up - down) / (2 * h)))
    return worst


def main():
    x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    target = np.array([[0.0], [1.0], [1.0], [0.0]])
    rng = np.random.default_rng(0)
    # Random to begin with: were they all equal, all 8 hidden numbers would stay equal for ever.
    parameters = [rng.standard_normal((2, 8)), rng.standard_normal(8), rng.standard_normal((8, 1)), np.zeros(1)]

    for step in range(501):
        W1, b1, W2, b2 = parameters
        h, a, y = forward(x, W1, b1, W2, b2)
        dy = (y - target) / len(x)  # the loss is a mean: its derivative by y_n has the 1/N in it
        gradients = backward(dy, x, h, a, W2)
        if step == 0:
            print(f"largest difference from differences: {check(x, target, parameters, gradients):.0e}")
        if step in (0, 10, 100, 500):
            print(f"step {step:3}: loss {loss_of(y, target):.6f}")
        parameters = [p - 0.2 * dp for p, dp in zip(parameters, gradients, strict=True)]

    for inputs, output in zip(x, forward(x, *parameters)[-1][:, 0], strict=True):
        print(f"{inputs} -> {output:.3f}")


if __name__ == "__main__":
    main()
