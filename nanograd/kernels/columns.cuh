// What kernels over rows and columns share: which columns a thread looks after, a bias, sums over rows.

// The columns of neighbouring elements, from the i-th on, of rows of `size`: one division for all of them, in 32 bits
// where the numbers allow that, as a division of 64 bits takes as long as reading the element does.
struct Columns {
  long long size, at;
  __device__ __forceinline__ Columns(long long i, long long size)
      : size(size), at((i | size) >> 32 ? i % size : (long long)((unsigned)i % (unsigned)size)) {}
  __device__ __forceinline__ long long next() {
    const long long now = at++;
    if (at == size) at = 0;
    return now;
  }
};

// x + bias, for neighbouring elements from the i-th on; the bias, a row of `size`, may be null.
template <typename T, int V>
__device__ __forceinline__ Pack<wide<T>, V> with_bias(const T* x, const wide<T>* bias, long long i, long long size) {
  const Pack<T, V> a = load<V>(x + i);
  Pack<wide<T>, V> sum;
  for (int j = 0; j < V; ++j) sum.at[j] = widen(a.at[j]);
  if (bias) {
    Columns columns(i, size);
    for (int j = 0; j < V; ++j) sum.at[j] += bias[columns.next()];
  }
  return sum;
}

// A block that looks after 32 V columns, V a thread, of a slab of the rows: its 8 warps take every eighth row.
template <int V> struct Block {
  long long c, start, stop;
  __device__ __forceinline__ Block(long long rows, long long slab)
      : c(((long long)blockIdx.x * 32 + threadIdx.x % 32) * V),
        start(blockIdx.y * slab + threadIdx.x / 32),
        stop((blockIdx.y + 1) * slab < rows ? (blockIdx.y + 1) * slab : rows) {}
};

// Leaves the sums that the 8 warps of such a block have of its columns, N kinds of them, for the slab: out[k][s, c], where
// it is `step` numbers from one slab's to the next. Where add[k] says so, they are added to what is there. A kind may be
// null. All threads must come here; warp k adds up kind k.
template <int N, int V, typename W>
__device__ __forceinline__ void leave_sums(const W (&sums)[N][V], W* const (&out)[N], const bool (&add)[N],
                                           long long c, long long step, long long C) {
  __shared__ W of_warp[N][8][V][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (int k = 0; k < N; ++k)
    if (out[k])
      for (int j = 0; j < V; ++j) of_warp[k][warp][j][lane] = sums[k][j];
  __syncthreads();
#pragma unroll
  for (int k = 0; k < N; ++k) {
    if (warp != k || !out[k] || c >= C) continue;
    W* at = out[k] + blockIdx.y * step + c;
    for (int j = 0; j < V; ++j) {
      W all = of_warp[k][0][j][lane];
      for (int other = 1; other < 8; ++other) all += of_warp[k][other][j][lane];
      at[j] = add[k] ? at[j] + all : all;
    }
  }
}
