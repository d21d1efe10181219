// Cross-entropy fused with softmax: one block a row of `size` logits. A row whose target is negative is ignored.

template <typename T, int V>
__global__ void cross_entropy(const T* logits, const int* targets, T* e, wide<T>* losses, wide<T>* z, long long size) {
  using W = wide<T>;
  const long long row = blockIdx.x;
  logits += row * size, e += row * size;
  const long long target = targets[row];
  const W chosen = target < 0 ? (W)0 : widen(logits[target]);  // now: e may be logits
  W top = -infinity<W>();
  for (long long i = threadIdx.x * V; i < size; i += blockDim.x * V) {
    const Pack<T, V> a = load<V>(logits + i);
    for (int j = 0; j < V; ++j) top = larger(top, (W)widen(a.at[j]));
  }
  top = block_reduce<Larger>(top);
  W total = 0;
  for (long long i = threadIdx.x * V; i < size; i += blockDim.x * V) {
    Pack<T, V> a = load<V>(logits + i);
    for (int j = 0; j < V; ++j) {
      const W value = exp(widen(a.at[j]) - top);
      total += value;
      a.at[j] = narrow<T>(value);
    }
    store(e + i, a);
  }
  total = block_reduce<Add>(total);
  if (threadIdx.x == 0) {
    losses[row] = target < 0 ? (W)0 : log(total) + top - chosen;
    z[row] = total;
  }
}

// e = (e / z - onehot(target)) scale, in place
template <typename T, int V>
__global__ void cross_entropy_backward(T* e, const wide<T>* z, const int* targets, double scale, long long size) {
  using W = wide<T>;
  const long long row = blockIdx.x, target = targets[row];
  const W factor = (W)scale / z[row];
  e += row * size;
  for (long long i = threadIdx.x * V; i < size; i += blockDim.x * V) {
    Pack<T, V> a = load<V>(e + i);
    for (int j = 0; j < V; ++j)
      a.at[j] = narrow<T>(target < 0 ? (W)0 : widen(a.at[j]) * factor - (i + j == target ? (W)scale : (W)0));
    store(e + i, a);
  }
}
