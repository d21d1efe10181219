// LayerNorm: a warp computes a row of C channels, each thread V of them at a time.

template <typename T, int V>
__global__ void normalize(const T* x, const wide<T>* weight, const wide<T>* bias, T* xhat, T* y, wide<T>* rstd,
                          double eps, long long rows, long long C) {
  using W = wide<T>;
  const int lane = threadIdx.x % 32;
  const long long row = (long long)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  if (row >= rows) return;
  x += row * C, xhat += row * C, y += row * C;
  W total = 0;
  for (long long c = lane * V; c < C; c += 32 * V) {
    const Pack<T, V> a = load<V>(x + c);
    for (int j = 0; j < V; ++j) total += widen(a.at[j]);
  }
  const W mean = warp_reduce<Add>(total) / (W)C;
  W squares = 0;
  for (long long c = lane * V; c < C; c += 32 * V) {
    const Pack<T, V> a = load<V>(x + c);
    for (int j = 0; j < V; ++j) squares += (widen(a.at[j]) - mean) * (widen(a.at[j]) - mean);
  }
  const W stretch = 1 / sqrt(warp_reduce<Add>(squares) / (W)C + (W)eps);
  for (long long c = lane * V; c < C; c += 32 * V) {
    const Pack<T, V> a = load<V>(x + c);
    Pack<T, V> normal, scaled;
    for (int j = 0; j < V; ++j) {
      const W value = (widen(a.at[j]) - mean) * stretch;
      normal.at[j] = narrow<T>(value);
      scaled.at[j] = narrow<T>(value * weight[c + j] + (bias ? bias[c + j] : (W)0));
    }
    store(xhat + c, normal);
    store(y + c, scaled);
  }
  if (lane == 0) rstd[row] = stretch;
}

// dx = rstd (g - mean(g) - xhat mean(g xhat)), with g = dy weight, and residual added unless it is null.
template <typename T, int V>
__global__ void normalize_backward(const T* dy, const wide<T>* weight, const T* xhat, const wide<T>* rstd,
                                   const T* residual, T* dx, long long rows, long long C) {
  using W = wide<T>;
  const int lane = threadIdx.x % 32;
  const long long row = (long long)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  if (row >= rows) return;
  dy += row * C, xhat += row * C, dx += row * C;
  if (residual) residual += row * C;
  W shift = 0, stretch = 0;
  for (long long c = lane * V; c < C; c += 32 * V) {
    const Pack<T, V> d = load<V>(dy + c), normal = load<V>(xhat + c);
    for (int j = 0; j < V; ++j) {
      const W g = widen(d.at[j]) * weight[c + j];
      shift += g;
      stretch += g * widen(normal.at[j]);
    }
  }
  shift = warp_reduce<Add>(shift) / (W)C;
  stretch = warp_reduce<Add>(stretch) / (W)C;
  for (long long c = lane * V; c < C; c += 32 * V) {
    const Pack<T, V> d = load<V>(dy + c), normal = load<V>(xhat + c);
    Pack<T, V> result, rest;
    if (residual) rest = load<V>(residual + c);
    for (int j = 0; j < V; ++j) {
      const W g = widen(d.at[j]) * weight[c + j];
      const W value = rstd[row] * (g - shift - widen(normal.at[j]) * stretch);
      result.at[j] = narrow<T>(residual ? value + widen(rest.at[j]) : value);
    }
    store(dx + c, result);
  }
}

// The same, and the gradients of bias and weight: the sums of dy and of dy xhat over each slab of rows, as in
// columns.cuh; dbias may be null. A warp keeps the sums of its rows in registers, MOST times V of each kind a thread: C
// is at most MOST times 32 V.
constexpr int MOST = 4;

template <typename T, int V>
__global__ void normalize_backward_sums(const T* dy, const wide<T>* weight, const T* xhat, const wide<T>* rstd,
                                        const T* residual, T* dx, wide<T>* dbias, wide<T>* dweight, long long rows,
                                        long long C, long long slab, long long step, long long add_dbias,
                                        long long add_dweight) {
  using W = wide<T>;
  const int lane = threadIdx.x % 32;
  const long long start = blockIdx.y * slab, stop = start + slab < rows ? start + slab : rows;
  W sums[MOST][2][V] = {};  // of dy, of dy xhat
  for (long long row = start + threadIdx.x / 32; row < stop; row += 8) {
    const T *d_row = dy + row * C, *normal_row = xhat + row * C;
    W shift = 0, stretch = 0;
#pragma unroll
    for (int k = 0; k < MOST; ++k) {
      const long long c = (k * 32 + lane) * V;
      if (c >= C) break;
      const Pack<T, V> d = load<V>(d_row + c), normal = load<V>(normal_row + c);
      for (int j = 0; j < V; ++j) {
        const W value = widen(d.at[j]), product = value * widen(normal.at[j]);
        shift += value * weight[c + j], stretch += product * weight[c + j];
        sums[k][0][j] += value, sums[k][1][j] += product;
      }
    }
    shift = warp_reduce<Add>(shift) / (W)C;
    stretch = warp_reduce<Add>(stretch) / (W)C;
    for (long long c = lane * V; c < C; c += 32 * V) {
      const Pack<T, V> d = load<V>(d_row + c), normal = load<V>(normal_row + c);
      Pack<T, V> result, rest;
      if (residual) rest = load<V>(residual + row * C + c);
      for (int j = 0; j < V; ++j) {
        const W value = rstd[row] * (widen(d.at[j]) * weight[c + j] - shift - widen(normal.at[j]) * stretch);
        result.at[j] = narrow<T>(residual ? value + widen(rest.at[j]) : value);
      }
      store(dx + row * C + c, result);
    }
  }
#pragma unroll
  for (int k = 0; k < MOST; ++k) {
    if (k * 32 * V >= C) break;
    __syncthreads();  // leave_sums uses the same shared memory for every k
    leave_sums<2, V, W>(sums[k], {dbias, dweight}, {add_dbias != 0, add_dweight != 0}, (k * 32 + lane) * V, step, C);
  }
}
