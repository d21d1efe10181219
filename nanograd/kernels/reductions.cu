// Sums over positions, over channels and over everything. Those over positions or everything are two launches, parts
// and then the sum of the parts (one for all vectors of a step: partial_sums.py), always in the same order; with
// atomics the order, and so the rounding, would differ from run to run.

// sums[s, c] = sum over the rows n of slab s of a[n, c], and dots[s, c] = that of a[n, c] b[n, c]; either may be null.
// Slabs, `step` and what is added to as in columns.cuh.
template <typename T, int V>
__global__ void column_parts(const T* a, const T* b, wide<T>* sums, wide<T>* dots, long long rows, long long C,
                             long long slab, long long step, long long add_sums, long long add_dots) {
  using W = wide<T>;
  const Block<V> own(rows, slab);
  W total[2][V] = {};
  if (own.c < C)
#pragma unroll 4
    for (long long n = own.start; n < own.stop; n += 8) {
      const Pack<T, V> left = load<V>(a + n * C + own.c);
      for (int j = 0; j < V; ++j) total[0][j] += widen(left.at[j]);
      if (dots) {
        const Pack<T, V> right = load<V>(b + n * C + own.c);
        for (int j = 0; j < V; ++j) total[1][j] += widen(left.at[j]) * widen(right.at[j]);
      }
    }
  leave_sums<2, V, W>(total, {sums, dots}, {add_sums != 0, add_dots != 0}, own.c, step, C);
}

// total[c] = sum over s of parts[s, c], and with `add` what was in total; from one part to the next it is `step`
// numbers. A block adds up 32 columns, each of its 8 warps every eighth part.
template <typename T>
__global__ void add_parts(const wide<T>* parts, wide<T>* total, long long slabs, long long C, long long step,
                          long long add) {
  using W = wide<T>;
  __shared__ W of_warp[8][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const long long c = (long long)blockIdx.x * 32 + lane;
  W sum = 0;
  if (c < C)
#pragma unroll 4
    for (long long s = warp; s < slabs; s += 8) sum += parts[s * step + c];
  of_warp[warp][lane] = sum;
  __syncthreads();
  if (warp > 0 || c >= C) return;
  for (int other = 1; other < 8; ++other) sum += of_warp[other][lane];
  total[c] = add ? total[c] + sum : sum;
}

// dots[n] = sum over c of a[n, c] b[n, c]; one warp a row
template <typename T>
__global__ void row_dots(const T* a, const T* b, T* dots, long long rows, long long C) {
  const int lane = threadIdx.x % 32;
  const long long row = (long long)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  if (row >= rows) return;
  wide<T> total = 0;
  for (long long c = lane; c < C; c += 32) total += widen(a[row * C + c]) * widen(b[row * C + c]);
  total = warp_reduce<Add>(total);
  if (lane == 0) dots[row] = narrow<T>(total);
}

// parts[block] = sum of the squares of the elements that the block reads
template <typename T>
__global__ void square_parts(const T* g, double* parts, long long n) {
  double total = 0;
  for (long long i = first_element<1>(); i < n; i += all_elements<1>()) total += (double)widen(g[i]) * widen(g[i]);
  total = block_reduce<Add>(total);
  if (threadIdx.x == 0) parts[blockIdx.x] = total;
}

// sum = the sum of n parts, by one block
template <typename T>
__global__ void total(const double* parts, double* sum, long long n) {
  double all = 0;
  for (long long i = threadIdx.x; i < n; i += blockDim.x) all += parts[i];
  all = block_reduce<Add>(all);
  if (threadIdx.x == 0) *sum = all;
}
