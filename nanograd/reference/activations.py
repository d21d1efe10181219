"""Activations act on each number alone: y_i = f(x_i). So ∂y_j/∂x_i is f'(x_i) where i = j, else 0, and

dx_i = dy_i f'(x_i)

ReLU     f(x) = max(x, 0)                    f'(x) = 1 where x > 0, else 0       (at x = 0 taken as 0)
ReLU^2   f(x) = max(x, 0)^2                  f'(x) = 2 max(x, 0)                 (So et al. 2021)
SiLU     f(x) = x s,  s = 1 / (1 + e^-x)     f'(x) = s + x s (1 - s)             since s' = s (1 - s)
GELU     f(x) = x (1 + t) / 2                f'(x) = (1 + t) / 2 + x (1 - t^2) / 2 * u'
         u = sqrt(2/π) (x + 0.044715 x^3)    u'    = sqrt(2/π) (1 + 3 * 0.044715 x^2)
         t = tanh(u)                         since tanh' = 1 - tanh^2            (Hendrycks & Gimpel 2016)
"""

import math

import numpy as np


def relu(x):  # (...) -> (...)
    return np.where(x > 0, x, 0)


def relu_backward(dy, x):
    return np.where(x > 0, dy, 0)


def relu2(x):  # (...) -> (...)
    return relu(x) ** 2


def relu2_backward(dy, x):
    return dy * 2 * relu(x)


def silu(x):  # (...) -> (...)
    return x / (1 + np.exp(-x))


def silu_backward(dy, x):
    s = 1 / (1 + np.exp(-x))
    return dy * (s + x * s * (1 - s))


def gelu(x):  # (...) -> (...)
    u = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    return x * (1 + np.tanh(u)) / 2


def gelu_backward(dy, x):
    t = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    du = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
    return dy * ((1 + t) / 2 + x * (1 - t**2) / 2 * du)
