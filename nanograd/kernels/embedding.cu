// Reading a table of vectors by id, and adding gradients to the rows that were read.

// y[n] = table[ids[n]]; one block a row
template <typename T>
__global__ void gather_rows(const wide<T>* table, const int* ids, T* y, long long C) {
  const long long row = blockIdx.x, id = ids[row];
  for (long long c = threadIdx.x; c < C; c += blockDim.x) y[row * C + c] = narrow<T>(table[id * C + c]);
}

// order[r] = the position of rank r when positions are sorted by id, equal ids in their order. The rank of a position
// is counted: it has before it all smaller ids, and the equal ones that stand before it. That takes n^2 comparisons,
// a tenth of a millisecond for 16,384 positions; a sort by CuPy makes the host wait for the GPU, this does not.
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
    for (int j = 0; j < 128; ++j) rank += tile[j] < id + (j < before);
  }
  if (i < n) order[rank] = (int)i;
}

// grad[id] += the sum of dy over the positions with that id. `order` lists the positions sorted by id, in each id's
// original order. The block of a position that begins a run of equal ids adds up the run: 32 V columns, the run dealt
// out to 8 warps. All other blocks have nothing to do.
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

// The same with atomics: no sorting, and another rounding each time.
template <typename T>
__global__ void add_atomically(wide<T>* grad, const int* ids, const T* dy, long long C) {
  const long long row = blockIdx.x, id = ids[row];
  for (long long c = threadIdx.x; c < C; c += blockDim.x) atomicAdd(grad + id * C + c, (wide<T>)widen(dy[row * C + c]));
}
