"""Linear: y = x W + b, the same affine map at every position.

    y_j = sum_i x_i W_ij + b_j              so ∂y_j/∂x_i = W_ij,   ∂y_j/∂W_ij = x_i,   ∂y_j/∂b_j = 1

The chain rule sums over what an argument acts on: x_i on every y_j of its position, W_ij and b_j on y_j of every
position n.

    dx_i  = sum_j dy_j W_ij                 dx = dy W^T
    dW_ij = sum_n x_ni dy_nj                dW = x^T dy
    db_j  = sum_n dy_nj
"""


def rows(x):  # (..., C) -> (N, C): all positions below one another
    return x.reshape(-1, x.shape[-1])


def linear(x, W, b=0.0):  # (..., n_in), (n_in, n_out), (n_out,) -> (..., n_out)
    return x @ W + b


def linear_backward(dy, x, W, b=0.0):
    dx = dy @ W.T  # (..., n_in)
    dW = rows(x).T @ rows(dy)  # (n_in, n_out)
    db = rows(dy).sum(0)  # (n_out,)
    return dx, dW, db
