"""2 of 3. A linear layer, and its gradient found twice: by differences and by hand.

    python first_steps/linear_layer.py

The layer multiplies x by a matrix: y = x W. A loss L makes one number of y. Learning needs to know how L changes when
an element of W changes a little: the derivative ∂L/∂W_ij. All of them together, in the shape of W, are the gradient dW.
Next: write the dx of such a layer yourself, python -m exercises start linear_dx, and then read small_mlp.py.
"""

try:
    import numpy as np
except ModuleNotFoundError:
    raise SystemExit("error: NumPy is not installed; python -m pip install numpy gets it") from None


def forward(x, W):  # (N, n_in), (n_in, n_out) -> (N, n_out)
    return x @ W  # y_nj = sum_i x_ni W_ij, for each of N examples n


def loss_of(y, target):  # (N, n_out), (N, n_out) -> a number
    return 0.5 * np.sum((y - target) ** 2)


def gradient_by_differences(x, W, target, h=1e-6):
    """Move one element of W up by h and down by h, and see what the loss does. Slow: two forward passes an element."""
    dW = np.zeros_like(W)
    for i, j in np.ndindex(W.shape):
        up, down = W.copy(), W.copy()
        up[i, j] += h
        down[i, j] -= h
        dW[i, j] = (loss_of(forward(x, up), target) - loss_of(forward(x, down), target)) / (2 * h)
    return dW


def gradient_by_hand(x, W, target):
    """The same by the chain rule, one step at a time, from the loss back to W and x.

    1. L = 1/2 sum (y - target)^2, so the derivative of L by y_nj is y_nj - target_nj. Call this dy.
    2. W_ij is multiplied by x_ni and added into y_nj: a change of W_ij moves y_nj by x_ni times as much, for every n.
       L feels all of these, each with its own dy_nj:              dW_ij = sum_n x_ni dy_nj, which is dW = x^T dy
    3. x_ni is multiplied by W_ij and added into y_nj, for every j: dx_ni = sum_j dy_nj W_ij, which is dx = dy W^T
    """
    dy = forward(x, W) - target  # (N, n_out), the shape of y
    dW = x.T @ dy  # (n_in, n_out), the shape of W
    dx = dy @ W.T  # (N, n_in), the shape of x: what a layer below this one would need
    return dW, dx


def main():
    x = np.array([[1.0, 2.0], [3.0, -1.0]])  # two examples of two numbers
    W = np.array([[0.5, -1.0, 0.0], [1.0, 0.0, 2.0]])
    target = np.array([[2.0, -2.0, 4.0], [1.0, -3.0, -1.0]])
    y = forward(x, W)
    print(f"y = x W =\n{y}\nloss {loss_of(y, target)}")

    dW, dx = gradient_by_hand(x, W, target)
    print(f"dy = y - target =\n{y - target}")
    print(f"dW by hand = x^T dy =\n{dW}")
    print(f"dW by differences =\n{gradient_by_differences(x, W, target).round(6)}")
    print(f"largest difference {np.abs(dW - gradient_by_differences(x, W, target)).max():.0e}")
    print(f"dx = dy W^T =\n{dx}")

    # What the gradient is for: a small step against it makes the loss smaller. Again and again: that is learning.
    for step in range(1, 41):
        dW, _ = gradient_by_hand(x, W, target)
        W = W - 0.1 * dW
        if step in (1, 2, 10, 40):
            print(f"after step {step:2}: loss {loss_of(forward(x, W), target):.6f}")


if __name__ == "__main__":
    main()
