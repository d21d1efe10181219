// RMSNorm: a warp computes a row of C channels, each thread V of them at a time. x, y, dy and dx may have gaps: `heads`
// rows lie one after the other, and from the first of them to the first of the next `heads` it is `step` elements, as
// where rows are the queries in an array that also holds keys and values.

__device__ __forceinline__ long long place(long long row, long long C, long long heads, long long step) {
  return row / heads * step + row % heads * C;
}

template <typename T, int V>
__global__ void rms_normalize(const T* x, const wide<T>* weight, T* xhat, T* y, wide<T>* rstd, double eps,
                              long long rows, long long C, long long heads, long long x_step, long long y_step) {
  using W = wide<T>;
  const int lane = threadIdx.x % 32;
  const long long row = (long long)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  if (row >= rows) return;
  x += place(row, C, heads, x_step), y += place(row, C, heads, y_step), xhat += row * C;
  W squares = 0;
  for (long long c = lane * V; c < C; c += 32 * V) {
    const Pack<T, V> a = load<V>(x + c);
    for (int j = 0; j < V; ++j) squares += widen(a.at[j]) * widen(a.at[j]);
  }
  const W stretch = 1 / sqrt(warp_reduce<Add>(squares) / (W)C + (W)eps);
  for (long long c = lane * V; c < C; c += 32 * V) {
    const Pack<T, V> a = load<V>(x + c);
    Pack<T, V> normal, scaled;
    for (int j = 0; j < V; ++j) {
      const W value = widen(a.at[j]) * stretch;
      normal.at[j] = narrow<T>(value);
      scaled.at[j] = narrow<T>(weight ? value * weight[c + j] : value);
    }
    store(xhat + c, normal);
    store(y + c, scaled);
  }
  if (lane == 0) rstd[row] = stretch;
}

// dx = rstd (g - xhat mean(g xhat)), with g = dy weight, and residual added unless it is null.
template <typename T, int V>
__global__ void rms_normalize_backward(const T* dy, const wide<T>* weight, const T* xhat, const wide<T>* rstd,
                                       const T* residual, T* dx, long long rows, long long C, long long heads,
                                       long long dy_step, long long dx_step) {
  using W = wide<T>;
  const int lane = threadIdx.x % 32;
  const long long row = (long long)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  if (row >= rows) return;
  dy += place(row, C, heads, dy_step), dx += place(row, C, heads, dx_step), xhat += row * C;
  if (residual) residual += row * C;
  W stretch = 0;
  for (long long c = lane * V; c < C; c += 32 * V) {
    const Pack<T, V> d = load<V>(dy + c), normal = load<V>(xhat + c);
    for (int j = 0; j < V; ++j) stretch += widen(d.at[j]) * (weight ? weight[c + j] : (W)1) * widen(normal.at[j]);
  }
  stretch = warp_reduce<Add>(stretch) / (W)C;
  for (long long c = lane * V; c < C; c += 32 * V) {
    const Pack<T, V> d = load<V>(dy + c), normal = load<V>(xhat + c);
    Pack<T, V> result, rest;
    if (residual) rest = load<V>(residual + c);
    for (int j = 0; j < V; ++j) {
      const W g = widen(d.at[j]) * (weight ? weight[c + j] : (W)1);
      const W value = rstd[row] * (g - widen(normal.at[j]) * stretch);
      result.at[j] = narrow<T>(residual ? value + widen(rest.at[j]) : value);
    }
    store(dx + c, result);
  }
}
