// Reading a table of vectors by id, and adding gradients to the rows that were read.

// y[n] = table[ids[n]]; one block a row
template <typename T>
__global__ void gather_rows(const wide<T>* table, const int* ids, T* y, long long C) {
  const long long row = blockIdx.x, id = ids[row];
  for (long long c = threadIdx.x; c < C; c += blockDim.x) y[row * C + c] = narrow<T>(table[id * C + c]);
}

// order[r] = the position that comes r-th when positions are sorted by id, equal ids by position. That r is counted:
// how many ids are smaller, or equal at an earlier position. These are n^2 comparisons, but no wait: CuPy's sort would
// have the host wait for the GPU.
template <typename T>
__global__ void sort_ids(const int* ids, int* order, long long n) {
  __shared__ int tile[128];
  const long long i = first_element<1>();
  const int id = i < n ? ids[i] : 0;
  int rank = 0;
  for (long long start = 0; start < n; start += 128) {
    __syncthreads();
    tile[threadIdx.x] = start + threadIdx.x < n ? ids[start + threadIdx.x] : 0x7fffffff;
    __syncthreads();
    const int before = (int)(i - start < 0 ? 0 : i - start > 128 ? 128 : i - start);  // of the tile, those before i
#pragma unroll 16
    for (int j = 0; j < 128; ++j) rank += tile[j] < id + (j < before);  // an equal id counts if it is earlier
  }
  if (i < n) order[rank] = (int)i;
}

// grad[id] += the sum of dy over the positions with that id. `order` is what sort_ids gives. There is a block for each
// of its places and 32 V columns. The block of the first place with an id adds up all with that id, each of its 8 warps
// every eighth; the other blocks return at once.
template <typename T, int V>
__global__ void add_runs(wide<T>* grad, const int* ids, const int* order, const T* dy, long long n, long long C) {
  __shared__ wide<T> of_warp[8][V][32];
  const long long first = blockIdx.x;
  const int id = ids[order[first]];
  if (first > 0 && ids[order[first - 1]] == id) return;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const long long c = ((long long)blockIdx.y * 32 + lane) * V;
  wide<T> total[V] = {};
  for (long long i = first + warp; i < n && ids[order[i]] == id; i += 8)
    if (c < C) {
      const Pack<T, V> part = load<V>(dy + order[i] * C + c);
      for (int j = 0; j < V; ++j) total[j] += widen(part.at[j]);
    }
  for (int j = 0; j < V; ++j) of_warp[warp][j][lane] = total[j];
  __syncthreads();
  if (warp > 0 || c >= C) return;
  for (int j = 0; j < V; ++j) {
    for (int other = 1; other < 8; ++other) total[j] += of_warp[other][j][lane];
    grad[id * C + c + j] += total[j];
  }
}

// The same with atomics: without sorting, but in an order, and so with a rounding, that differs from run to run.
template <typename T>
__global__ void add_atomically(wide<T>* grad, const int* ids, const T* dy, long long C) {
  const long long row = blockIdx.x, id = ids[row];
  for (long long c = threadIdx.x; c < C; c += blockDim.x) atomicAdd(grad + id * C + c, (wide<T>)widen(dy[row * C + c]));
}
