"""Where digits go in attention's backward pass when softmax is saturated: `python -m tests.gradcheck.saturated`.

A row of scores that are far apart has one weight near 1. The gradient of a score is P (dP - δ), with δ the mean of dP
that the row's weights make. There dP and δ are nearly equal, and what is left of their difference is their rounding.
δ is computed in one of two ways, which are equal on paper:

    δ = Σ_j P_ij dP_ij      over keys: it rounds as dP does, and most of that is gone again from the difference
    δ = y_i · dy_i          over channels: no (T, T) array is needed, but it rounds on its own

The second is the layer's, as it is in FlashAttention (Dao et al. 2022). Both are held against long double here.
"""

import numpy as np

B, T, D = 64, 24, 64


def gradients(scale: float, seed: int = 0) -> dict[str, np.ndarray]:
    """{way: relative error of dS in each row}, for scores about `scale` apart, in float64 against long double."""
    rng = np.random.default_rng(seed)
    scores, v, dy = scale * rng.standard_normal((B, T, T)), *rng.standard_normal((2, B, T, D))

    def parts(dtype):
        s, values, upstream = (array.astype(dtype) for array in (scores, v, dy))
        e = np.exp(s - s.max(-1, keepdims=True))
        P = e / e.sum(-1, keepdims=True)
        return P, np.einsum("bid,bjd->bij", upstream, values), np.einsum("bij,bjd->bid", P, values), upstream

    def dS(dtype, over_keys: bool):
        P, dP, y, upstream = parts(dtype)
        delta = (P * dP).sum(-1, keepdims=True) if over_keys else (y * upstream).sum(-1, keepdims=True)
        return P * (dP - delta)

    exact = dS(np.longdouble, True)
    size = np.abs(exact).max(-1)
    return {
        name: (np.abs(dS(np.float64, over_keys) - exact).max(-1) / size).astype(np.float64)
        for name, over_keys in (("over keys", True), ("over channels", False))
    }


def main() -> None:
    print("| scores apart by | δ | median error of a row | largest |\n|---|---|---|---|")
    for scale in (1, 10, 30):
        for name, errors in gradients(scale).items():
            print(f"| {scale} | {name} | {np.median(errors):.1e} | {errors.max():.1e} |")


if __name__ == "__main__":
    main()
