// GELU, with u and t as in nanograd/layers/activations.py.
__device__ __forceinline__ double tanh_of(double u) { return tanh(u); }
__device__ __forceinline__ float tanh_of(float u) {  // as 1 - 2 / (e^2u + 1): a quarter of the PTX of tanh
  return 1 - __fdividef(2.0f, exp2f(2.885390082f * u) + 1);  // 2 log2(e)
}
template <typename W> __device__ __forceinline__ W gelu_t(W x) {
  return tanh_of((W)0.79788456080286535588 * (x + (W)0.044715 * x * x * x));
}

template <typename T, int V>
__global__ void gelu(const T* x, const wide<T>* bias, T* y, long long n, long long size) {
  for (long long i = first_element<V>(); i < n; i += all_elements<V>()) {
    const Pack<wide<T>, V> a = with_bias<T, V>(x, bias, i, size);
    Pack<T, V> result;
    for (int j = 0; j < V; ++j) result.at[j] = narrow<T>((wide<T>)0.5 * a.at[j] * (1 + gelu_t(a.at[j])));
    store(y + i, result);
  }
}

// dx = dy times GELU's slope at x + bias, and sums[s, c] = the sum of dx over the rows of slab s, unless `sums` is
// null; slabs and `add` as in columns.cuh.
template <typename T, int V>
__global__ void gelu_backward(const T* dy, const T* x, const wide<T>* bias, T* dx, wide<T>* sums, long long rows,
                              long long C, long long slab, long long step, long long add) {
  using W = wide<T>;
  const Block<V> own(rows, slab);
  W shift[V] = {}, total[1][V] = {};
  if (bias && own.c < C)
    for (int j = 0; j < V; ++j) shift[j] = bias[own.c + j];
  if (own.c < C)
#pragma unroll 2
    for (long long n = own.start; n < own.stop; n += 8) {
      const Pack<T, V> d = load<V>(dy + n * C + own.c), a = load<V>(x + n * C + own.c);
      Pack<T, V> result;
      for (int j = 0; j < V; ++j) {
        const W value = widen(a.at[j]) + shift[j], t = gelu_t(value);
        const W du = (W)0.79788456080286535588 * (1 + 3 * (W)0.044715 * value * value);
        result.at[j] = narrow<T>(widen(d.at[j]) * ((W)0.5 * (1 + t) + (W)0.5 * value * (1 - t * t) * du));
        total[0][j] += widen(result.at[j]);
      }
      store(dx + n * C + own.c, result);
    }
  leave_sums<1, V, W>(total, {sums}, {add != 0}, own.c, step, C);
}
