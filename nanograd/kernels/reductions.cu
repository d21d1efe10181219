// Sums over positions and over everything. Each is two launches, parts and then the sum of the parts, in an order that
// is always the same: atomics would be as fast, and another sum each time.

// parts[s, c] = sum over the rows n of slab s of a[n, c], or of a[n, c] b[n, c] where there is a b.
// A block takes 32 V columns of a slab, V a thread; its 8 warps take every eighth row.
template <typename T, int V>
__global__ void column_parts(const T* a, const T* b, wide<T>* parts, long long rows, long long C, long long slab) {
  __shared__ wide<T> of_warp[8][V][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const long long c = ((long long)blockIdx.x * 32 + lane) * V, start = blockIdx.y * slab;
  const long long stop = start + slab < rows ? start + slab : rows;
  wide<T> total[V] = {};
  if (c < C)
#pragma unroll 4
    for (long long n = start + warp; n < stop; n += 8) {
      const Pack<T, V> left = load<V>(a + n * C + c);
      if (b) {
        const Pack<T, V> right = load<V>(b + n * C + c);
        for (int j = 0; j < V; ++j) total[j] += widen(left.at[j]) * widen(right.at[j]);
      } else {
        for (int j = 0; j < V; ++j) total[j] += widen(left.at[j]);
      }
    }
  for (int j = 0; j < V; ++j) of_warp[warp][j][lane] = total[j];
  __syncthreads();
  if (warp > 0 || c >= C) return;
  for (int j = 0; j < V; ++j) {
    for (int other = 1; other < 8; ++other) total[j] += of_warp[other][j][lane];
    parts[blockIdx.y * C + c + j] = total[j];
  }
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

// parts[block] = sum of the squares that the block looks after
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
