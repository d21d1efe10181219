import numpy as np


def differences(f, x, h=1e-5):
    """f(x) is a number, x an array -> an array like x: the derivative of f by each element. x stays as it is."""
    # <<<
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = h
        gradient[index] = (f(x + step) - f(x - step)) / (2 * h)
    return gradient
    # >>>
