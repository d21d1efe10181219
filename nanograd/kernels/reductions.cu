// Sums over positions and over everything. Each is two launches, parts and then the sum of the parts (a sum over few
// positions is one), in an order that is always the same: atomics would be as fast, and another sum each time.

// sums[s, c] = sum over the rows n of slab s of a[n, c], and dots[s, c] = that of a[n, c] b[n, c]: the one or the other may
// be null. With `add` they are added to what is there. A block takes 32 V columns of a slab, V a thread; its 8 warps take
// every eighth row.
template <typename T, int V>
__global__ void column_parts(const T* a, const T* b, wide<T>* sums, wide<T>* dots, long long rows, long long C,
                             long long slab, long long add) {
  using W = wide<T>;
  __shared__ W of_warp[2][8][V][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const long long c = ((long long)blockIdx.x * 32 + lane) * V, start = blockIdx.y * slab;
  const long long stop = start + slab < rows ? start + slab : rows;
  W total[V] = {}, product[V] = {};
  if (c < C)
#pragma unroll 4
    for (long long n = start + warp; n < stop; n += 8) {
      const Pack<T, V> left = load<V>(a + n * C + c);
      for (int j = 0; j < V; ++j) total[j] += widen(left.at[j]);
      if (dots) {
        const Pack<T, V> right = load<V>(b + n * C + c);
        for (int j = 0; j < V; ++j) product[j] += widen(left.at[j]) * widen(right.at[j]);
      }
    }
  for (int j = 0; j < V; ++j) {
    of_warp[0][warp][j][lane] = total[j];
    if (dots) of_warp[1][warp][j][lane] = product[j];
  }
  __syncthreads();
  W* out = warp == 0 ? sums : warp == 1 ? dots : nullptr;  // the first warp adds up the sums, the second the dots
  if (!out || c >= C) return;
  out += blockIdx.y * C + c;
  for (int j = 0; j < V; ++j) {
    W all = of_warp[warp][0][j][lane];
    for (int other = 1; other < 8; ++other) all += of_warp[warp][other][j][lane];
    out[j] = add ? out[j] + all : all;
  }
}

// sums[c] += sum over s of sum_parts[s, c], and dots likewise; either may be null. A block takes 32 columns of one of the
// two, its 8 warps every eighth part.
template <typename T>
__global__ void add_parts(const wide<T>* sum_parts, const wide<T>* dot_parts, wide<T>* sums, wide<T>* dots,
                          long long slabs, long long C) {
  using W = wide<T>;
  __shared__ W of_warp[8][32];
  const W* parts = blockIdx.y == 0 ? sum_parts : dot_parts;
  W* out = blockIdx.y == 0 ? sums : dots;
  if (!out) return;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const long long c = (long long)blockIdx.x * 32 + lane;
  W total = 0;
  if (c < C)
#pragma unroll 4
    for (long long s = warp; s < slabs; s += 8) total += parts[s * C + c];
  of_warp[warp][lane] = total;
  __syncthreads();
  if (warp > 0 || c >= C) return;
  for (int other = 1; other < 8; ++other) total += of_warp[other][lane];
  out[c] += total;
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
