// LayerNorm: one warp takes one row of C channels, V at a time.

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
