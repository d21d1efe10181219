// Cross-entropy fused with softmax: one block a row of `size` logits. A row whose target is negative is ignored.
//
// The logits are read once in forward and once in backward. Forward keeps the highest so far, and the sum of the
// exponentials of all minus that one, which is rescaled where a higher one comes (Milakov & Gimelshein 2018,
// https://arxiv.org/abs/1805.02867). e holds the logits unchanged, and z the logarithm of the sum of their
// exponentials: softmax = exp(e - z).

template <typename T, int V>
__global__ void cross_entropy(const T* logits, const int* targets, T* e, wide<T>* losses, wide<T>* z, long long size) {
  using W = wide<T>;
  const long long row = blockIdx.x, target = targets[row];
  const bool elsewhere = e != logits;
  logits += row * size, e += row * size;
  W top = -infinity<W>(), total = 0;
  for (long long i = threadIdx.x * V; i < size; i += blockDim.x * V) {
    const Pack<T, V> a = load<V>(logits + i);
    if (elsewhere) store(e + i, a);
    W highest = top;
    for (int j = 0; j < V; ++j) highest = larger(highest, (W)widen(a.at[j]));
    if (highest == -infinity<W>()) continue;
    total *= exp(top - highest), top = highest;
    for (int j = 0; j < V; ++j) total += exp(widen(a.at[j]) - top);
  }
  const W highest = block_reduce<Larger>(top);
  total = block_reduce<Add>(total * exp(top - highest));
  if (threadIdx.x == 0) {
    z[row] = highest + log(total);
    losses[row] = target < 0 ? (W)0 : log(total) + (highest - widen(logits[target]));
  }
}

// e = (exp(e - z) - onehot(target)) scale, in place
template <typename T, int V>
__global__ void cross_entropy_backward(T* e, const wide<T>* z, const int* targets, double scale, long long size) {
  using W = wide<T>;
  const long long row = blockIdx.x, target = targets[row];
  const W shift = z[row], factor = target < 0 ? (W)0 : (W)scale;
  e += row * size;
  for (long long i = threadIdx.x * V; i < size; i += blockDim.x * V) {
    Pack<T, V> a = load<V>(e + i);
    for (int j = 0; j < V; ++j)
      a.at[j] = narrow<T>((exp(widen(a.at[j]) - shift) - (i + j == target ? (W)1 : (W)0)) * factor);
    store(e + i, a);
  }
}
