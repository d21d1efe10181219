// Reading a table of vectors by id, and adding gradients to the rows that were read.

// y[n] = table[ids[n]]; one block a row
template <typename T>
__global__ void gather_rows(const wide<T>* table, const int* ids, T* y, long long C) {
  const long long row = blockIdx.x, id = ids[row];
  for (long long c = threadIdx.x; c < C; c += blockDim.x) y[row * C + c] = narrow<T>(table[id * C + c]);
}

// grad[id] += the sum of dy over the positions with that id. `order` lists the positions sorted by id, in each id's
// original order. The block of a position that begins a run of equal ids adds up the run: 32 columns, the run dealt
// out to 8 warps. All other blocks have nothing to do.
template <typename T>
__global__ void add_runs(wide<T>* grad, const int* ids, const long long* order, const T* dy, long long n, long long C) {
  __shared__ wide<T> of_warp[8][32];
  const long long first = blockIdx.x;
  const int id = ids[order[first]];
  if (first > 0 && ids[order[first - 1]] == id) return;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const long long c = (long long)blockIdx.y * 32 + lane;
  wide<T> total = 0;
  for (long long i = first + warp; i < n && ids[order[i]] == id; i += 8)
    if (c < C) total += widen(dy[order[i] * C + c]);
  of_warp[warp][lane] = total;
  __syncthreads();
  if (warp > 0 || c >= C) return;
  for (int other = 1; other < 8; ++other) total += of_warp[other][lane];
  grad[id * C + c] += total;
}

// The same with atomics: no sorting, and another rounding each time.
template <typename T>
__global__ void add_atomically(wide<T>* grad, const int* ids, const T* dy, long long C) {
  const long long row = blockIdx.x, id = ids[row];
  for (long long c = threadIdx.x; c < C; c += blockDim.x) atomicAdd(grad + id * C + c, (wide<T>)widen(dy[row * C + c]));
}
