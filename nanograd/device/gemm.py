"""Matrix products on a GPU, through cuBLAS's gemmEx: one place for precision, layout and accumulation.

CuPy's own `matmul` takes slow ways above two dimensions and none for bfloat16 in, float32 out. gemmEx takes all:

    float64, float32     as they are
    float32 as TF32      the same arrays; the products are rounded to 10 bits, the sums stay float32
    bfloat16             sums in float32; the result in bfloat16, or in float32 for gradients of master weights

cuBLAS counts columns first. A matrix that is stored row by row looks transposed to it, so out = a b is asked for
as out^T = b^T a^T: the operands change places, and an operand that is a transposed view needs no copy.
"""

import numpy as np

from nanograd.device.device import bits, contiguous, name_of, xp_of

CUDA_TYPES = {"float32": 0, "float64": 1, "bfloat16": 14}  # cudaDataType_t
COMPUTE_32F, COMPUTE_64F, COMPUTE_32F_FAST_TF32 = 68, 70, 77  # cublasComputeType_t
GEMM_DEFAULT = -1
FACTORS = {double: np.array([0, 1], np.float64 if double else np.float32) for double in (False, True)}
PLACES = {double: (both.ctypes.data, both[1:].ctypes.data) for double, both in FACTORS.items()}  # of beta, alpha: 0, 1


def layout(matrix) -> tuple[int, int]:
    """(0 or 1, leading dimension): whether a 2-D array is stored column by column, and elements from line to line.

    Raises ValueError where neither rows nor columns are contiguous, or where they overlap or run backwards.
    """
    rows, columns = matrix.shape
    down, across = matrix.strides
    whole = not (down % matrix.itemsize or across % matrix.itemsize)
    down, across = down // matrix.itemsize, across // matrix.itemsize
    if whole and (across == 1 or columns == 1) and (down >= columns or rows == 1):
        return 0, max(down, columns)
    if whole and (down == 1 or rows == 1) and across >= rows:
        return 1, across
    raise ValueError(f"a matrix product needs contiguous rows or columns, not strides {matrix.strides}")


def operand(matrix):
    """(matrix, whether it is stored column by column, leading dimension), of a copy where BLAS cannot read it."""
    try:
        return matrix, *layout(matrix)
    except ValueError:
        matrix = contiguous(matrix)
        return matrix, *layout(matrix)


def gemm(a, b, out, add: bool = False, tf32: bool = False) -> None:
    """out = a @ b, or out += a @ b with `add`, for device matrices a (M, K), b (K, N), out (M, N) stored by rows.

    Raises ValueError for shapes that do not fit and TypeError for dtypes that do not.
    """
    (m, k), (k_b, n) = a.shape, b.shape
    if k != k_b or out.shape != (m, n):
        raise ValueError(f"cannot multiply {a.shape} by {b.shape} into {out.shape}")
    kind, kind_out = name_of(a.dtype), name_of(out.dtype)
    if a.dtype != b.dtype or kind not in CUDA_TYPES or (kind != "bfloat16" and kind_out != kind):
        raise TypeError(f"cannot multiply {a.dtype} by {b.dtype} into {out.dtype}")
    if not out.size:
        return
    transposed_out, ld_out = layout(out)
    if transposed_out:
        raise ValueError(f"the result of a matrix product is stored by rows, not with strides {out.strides}")
    if not k:
        if not add:
            bits(out)[...] = 0
        return
    (a, transposed_a, ld_a), (b, transposed_b, ld_b) = operand(a), operand(b)
    double = kind == "float64"
    compute = COMPUTE_64F if double else COMPUTE_32F_FAST_TF32 if tf32 and kind == "float32" else COMPUTE_32F
    zero, one = PLACES[double]
    cuda = xp_of(a).cuda
    cuda.cublas.gemmEx(
        cuda.device.get_cublas_handle(),
        *(transposed_b, transposed_a, n, m, k),
        one,
        *(b.data.ptr, CUDA_TYPES[kind], ld_b),
        *(a.data.ptr, CUDA_TYPES[kind], ld_a),
        one if add else zero,
        *(out.data.ptr, CUDA_TYPES[kind_out], ld_out),
        *(compute, GEMM_DEFAULT),
    )


def products(a, b):  # (M, m, k), (M, k, n) -> (M, m, n)
    """a[i] @ b[i] for each i, on a CPU as well."""
    if isinstance(a, np.ndarray):
        return a @ b
    out = xp_of(a).empty((*a.shape[:2], b.shape[2]), dtype=a.dtype)
    for number in range(len(a)):
        gemm(a[number], b[number], out[number])
    return out
