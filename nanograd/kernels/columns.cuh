// What kernels over rows and columns share: the column of an element, a bias, sums over rows.

// The columns of neighbouring elements, from the i-th on, of rows of `size`: one division for all of them, in 32 bits
// where the numbers are small enough, as a GPU needs several times as many instructions to divide numbers of 64 bits.
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

// What a block of 8 warps computes: 32 V columns, V for each thread of a warp, of the `slab` rows of slab blockIdx.y,
// of which each warp takes every eighth. c: the thread's first column; start: its first row; stop: where the slab ends.
template <int V> struct Block {
  long long c, start, stop;
  __device__ __forceinline__ Block(long long rows, long long slab)
      : c(((long long)blockIdx.x * 32 + threadIdx.x % 32) * V),
        start(blockIdx.y * slab + threadIdx.x / 32),
        stop((blockIdx.y + 1) * slab < rows ? (blockIdx.y + 1) * slab : rows) {}
};

// Adds up the sums that the 8 warps of such a block have of its columns, N kinds of sums, and writes kind k for slab s
// to out[k][s, c]: from one slab to the next it is `step` numbers. Where add[k] is true they are added to what is
// there. Where out[k] is null nothing is written. Every thread of the block must call it; warp k adds up kind k.
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
