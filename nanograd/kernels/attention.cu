// Attention in float, double, or bfloat16 with float arithmetic, for any number of channels up to D. SIDE x SIDE
// threads share tiles of TILE rows; thread (y, x) computes rows y R .. y R + R - 1, R = TILE / SIDE, and columns x,
// x + SIDE, …. In shared memory there is an unused number between two rows, so that they begin in different banks.

template <int TILE> constexpr int SIDE = TILE < 16 ? TILE : 16;

// Rows start .. start + TILE - 1 of an array into shared memory; zeros beyond `stop` rows and `channels`.
template <typename T, int D, int TILE>
__device__ void fetch(wide<T>* tile, const T* array, long long row_step, long long start, long long stop,
                      long long channels) {
  for (int i = threadIdx.x; i < TILE * D; i += SIDE<TILE> * SIDE<TILE>) {
    const int r = i / D, c = i % D;
    tile[r * (D + 1) + c] = start + r < stop && c < channels ? widen(array[(start + r) * row_step + c]) : (wide<T>)0;
  }
}

// products[i][j] = row (y R + i) of a . row (x + SIDE j) of b
template <typename W, int D, int TILE>
__device__ __forceinline__ void dot_rows(W (&products)[TILE / SIDE<TILE>][TILE / SIDE<TILE>], const W* a, const W* b) {
  constexpr int R = TILE / SIDE<TILE>;
  const int y = threadIdx.x / SIDE<TILE>, x = threadIdx.x % SIDE<TILE>;
#pragma unroll
  for (int i = 0; i < R; ++i)
#pragma unroll
    for (int j = 0; j < R; ++j) products[i][j] = 0;
  for (int c = 0; c < D; ++c) {
    W left[R], right[R];
#pragma unroll
    for (int i = 0; i < R; ++i) left[i] = a[(y * R + i) * (D + 1) + c];
#pragma unroll
    for (int j = 0; j < R; ++j) right[j] = b[(x + SIDE<TILE> * j) * (D + 1) + c];
#pragma unroll
    for (int i = 0; i < R; ++i)
#pragma unroll
      for (int j = 0; j < R; ++j) products[i][j] += left[i] * right[j];
  }
}

// sums[i][k] += sum over c of weights[y R + i][c] b[c][x + SIDE k]
template <typename W, int D, int TILE>
__device__ __forceinline__ void add_weighted(W (&sums)[TILE / SIDE<TILE>][D / SIDE<TILE>], const W* weights,
                                             const W* b) {
  constexpr int R = TILE / SIDE<TILE>;
  const int y = threadIdx.x / SIDE<TILE>, x = threadIdx.x % SIDE<TILE>;
  for (int c = 0; c < TILE; ++c)
#pragma unroll
    for (int i = 0; i < R; ++i) {
      const W weight = weights[(y * R + i) * (TILE + 1) + c];
#pragma unroll
      for (int k = 0; k < D / SIDE<TILE>; ++k) sums[i][k] += weight * b[c * (D + 1) + x + SIDE<TILE> * k];
    }
}

template <typename T, int D, int TILE>
__device__ __forceinline__ void put(T* array, long long row_step, long long start, long long stop, long long channels,
                                    const wide<T> (&sums)[TILE / SIDE<TILE>][D / SIDE<TILE>], wide<T> factor) {
  const int y = threadIdx.x / SIDE<TILE>, x = threadIdx.x % SIDE<TILE>;
#pragma unroll
  for (int i = 0; i < TILE / SIDE<TILE>; ++i)
#pragma unroll
    for (int k = 0; k < D / SIDE<TILE>; ++k) {
      const long long row = start + y * (TILE / SIDE<TILE>) + i, c = x + SIDE<TILE> * k;
      if (row < stop && c < channels) array[row * row_step + c] = narrow<T>(sums[i][k] * factor);
    }
}

template <typename T, int D, int TILE, bool DROPS>
__global__ void attention(const T* q, const T* k, const T* v, T* o, wide<T>* logz, ATTENTION_SIZES, DROPOUT_SETTINGS) {
  using W = wide<T>;
  constexpr int R = TILE / SIDE<TILE>, N = D / SIDE<TILE>, SPAN = TILE * (D + 1);
  SHARED_MEMORY(W, memory);
  W *qs = memory, *ks = qs + SPAN, *vs = ks + SPAN, *weights = vs + SPAN;
  UNPACK_ARGUMENTS
  const long long head = blockIdx.y, shared_head = head / sharing;
  const int y = threadIdx.x / SIDE<TILE>, x = threadIdx.x % SIDE<TILE>;
  const long long start = (long long)(gridDim.x - 1 - blockIdx.x) * TILE;  // long rows first: they take longest
  q = locate(q, q_steps, batch, head);
  k = locate(k, k_steps, batch, shared_head), v = locate(v, k_steps, batch, shared_head);
  fetch<T, D, TILE>(qs, q, q_row, start, queries, channels);
  W sums[R][N] = {}, top[R], z[R];
#pragma unroll
  for (int i = 0; i < R; ++i) top[i] = -infinity<W>(), z[i] = 0;
  const long long end = first_query + start + TILE < keys ? first_query + start + TILE : keys;
  for (long long from = 0; from < end; from += TILE) {
    __syncthreads();
    fetch<T, D, TILE>(ks, k, k_row, from, keys, channels);
    fetch<T, D, TILE>(vs, v, k_row, from, keys, channels);
    __syncthreads();
    W scores[R][R];
    dot_rows<W, D, TILE>(scores, qs, ks);
    Drawn drawn;
#pragma unroll
    for (int i = 0; i < R; ++i) {
      const long long query = start + y * R + i, last = first_query + query;  // the last key that it sees
      W highest = top[i];
#pragma unroll
      for (int j = 0; j < R; ++j) {
        scores[i][j] = from + x + SIDE<TILE> * j <= last ? scores[i][j] * (W)scale : -infinity<W>();
        highest = larger(highest, scores[i][j]);
      }
      for (int other = SIDE<TILE> / 2; other > 0; other /= 2)
        highest = larger(highest, __shfl_xor_sync(0xffffffffu, highest, other));
      const W correction = exp(top[i] - highest);  // the first tile holds a key for every query: highest is finite
      top[i] = highest;
      z[i] *= correction;
#pragma unroll
      for (int c = 0; c < N; ++c) sums[i][c] *= correction;
#pragma unroll
      for (int j = 0; j < R; ++j) {
        W e = exp(scores[i][j] - highest);
        z[i] += e;
        if (DROPS && query < queries && from + x + SIDE<TILE> * j <= last)
          e *= (W)kept(dropping, drawn, batch, heads, head, queries, query, from + x + SIDE<TILE> * j);
        weights[(y * R + i) * (TILE + 1) + x + SIDE<TILE> * j] = e;
      }
    }
    __syncthreads();
    add_weighted<W, D, TILE>(sums, weights, vs);
  }
#pragma unroll
  for (int i = 0; i < R; ++i) {
    for (int other = SIDE<TILE> / 2; other > 0; other /= 2) z[i] += __shfl_xor_sync(0xffffffffu, z[i], other);
#pragma unroll
    for (int c = 0; c < N; ++c) sums[i][c] /= z[i];
    const long long query = start + y * R + i;
    if (x == 0 && logz && query < queries) logz[(batch * heads + head) * queries + query] = top[i] + log(z[i]);
  }
  put<T, D, TILE>(locate(o, o_steps, batch, head), o_steps.row, start, queries, channels, sums, (W)1);
}

// dq and delta, for a tile of queries: weights P = exp(score - log z), delta = do . o, dS = P (m (do . v) - delta),
// dq = scale dS k.
template <typename T, int D, int TILE, bool DROPS>
__global__ void attention_dq(const T* q, const T* k, const T* v, const T* dout, const T* o, const wide<T>* logz, T* dq,
                             wide<T>* delta, ATTENTION_SIZES, DROPOUT_SETTINGS) {
  using W = wide<T>;
  constexpr int R = TILE / SIDE<TILE>, N = D / SIDE<TILE>, SPAN = TILE * (D + 1);
  SHARED_MEMORY(W, memory);
  W *qs = memory, *ks = qs + SPAN, *vs = ks + SPAN, *gs = vs + SPAN, *ds = gs + SPAN;
  UNPACK_ARGUMENTS
  const long long head = blockIdx.y, shared_head = head / sharing;
  const int y = threadIdx.x / SIDE<TILE>, x = threadIdx.x % SIDE<TILE>;
  const long long start = (long long)(gridDim.x - 1 - blockIdx.x) * TILE;
  q = locate(q, q_steps, batch, head);
  k = locate(k, k_steps, batch, shared_head), v = locate(v, k_steps, batch, shared_head);
  logz += (batch * heads + head) * queries, delta += (batch * heads + head) * queries;
  fetch<T, D, TILE>(qs, q, q_row, start, queries, channels);
  fetch<T, D, TILE>(gs, locate(dout, o_steps, batch, head), o_steps.row, start, queries, channels);
  fetch<T, D, TILE>(vs, locate(o, o_steps, batch, head), o_steps.row, start, queries, channels);
  __syncthreads();
  W sums[R][N] = {}, go[R] = {};  // go: delta of the thread's rows; o is where the values will be
#pragma unroll
  for (int i = 0; i < R; ++i) {
    const int row = y * R + i;
    for (int c = x; c < D; c += SIDE<TILE>) go[i] += gs[row * (D + 1) + c] * vs[row * (D + 1) + c];
    for (int other = SIDE<TILE> / 2; other > 0; other /= 2) go[i] += __shfl_xor_sync(0xffffffffu, go[i], other);
    if (x == 0 && start + row < queries) delta[start + row] = go[i];
  }
  const long long end = first_query + start + TILE < keys ? first_query + start + TILE : keys;
  for (long long from = 0; from < end; from += TILE) {
    __syncthreads();
    fetch<T, D, TILE>(ks, k, k_row, from, keys, channels);
    fetch<T, D, TILE>(vs, v, k_row, from, keys, channels);
    __syncthreads();
    W scores[R][R], products[R][R];
    dot_rows<W, D, TILE>(scores, qs, ks);
    dot_rows<W, D, TILE>(products, gs, vs);
    Drawn drawn;
#pragma unroll
    for (int i = 0; i < R; ++i)
#pragma unroll
      for (int j = 0; j < R; ++j) {
        const long long query = start + y * R + i, key = from + x + SIDE<TILE> * j;
        W dscore = 0;
        if (query < queries && key <= first_query + query) {
          const W weight = exp(scores[i][j] * (W)scale - logz[query]);
          const W factor = DROPS ? (W)kept(dropping, drawn, batch, heads, head, queries, query, key) : (W)1;
          dscore = weight * (factor * products[i][j] - go[i]);
        }
        ds[(y * R + i) * (TILE + 1) + x + SIDE<TILE> * j] = dscore;
      }
    __syncthreads();
    add_weighted<W, D, TILE>(sums, ds, ks);
  }
  put<T, D, TILE>(locate(dq, q_steps, batch, head), q_row, start, queries, channels, sums, (W)scale);
}

// dk and dv, for a tile of keys: rows are keys here and columns queries.
template <typename T, int D, int TILE, bool DROPS>
__global__ void attention_dkv(const T* q, const T* k, const T* v, const T* dout, const wide<T>* logz,
                              const wide<T>* delta, T* dk, T* dv, ATTENTION_SIZES, DROPOUT_SETTINGS) {
  using W = wide<T>;
  constexpr int R = TILE / SIDE<TILE>, N = D / SIDE<TILE>, SPAN = TILE * (D + 1);
  SHARED_MEMORY(W, memory);
  W *qs = memory, *ks = qs + SPAN, *vs = ks + SPAN, *gs = vs + SPAN, *ds = gs + SPAN, *weights = ds + TILE * (TILE + 1);
  UNPACK_ARGUMENTS
  const long long shared_head = blockIdx.y;
  const int y = threadIdx.x / SIDE<TILE>, x = threadIdx.x % SIDE<TILE>;
  const long long start = (long long)blockIdx.x * TILE;
  k = locate(k, k_steps, batch, shared_head), v = locate(v, k_steps, batch, shared_head);
  fetch<T, D, TILE>(ks, k, k_row, start, keys, channels);
  fetch<T, D, TILE>(vs, v, k_row, start, keys, channels);
  W dk_sums[R][N] = {}, dv_sums[R][N] = {};
  const long long begin = start > first_query ? start - first_query : 0;  // the first query that sees these keys
  for (long long head = shared_head * sharing; head < (shared_head + 1) * sharing; ++head) {
    const T *head_q = locate(q, q_steps, batch, head), *head_dout = locate(dout, o_steps, batch, head);
    const long long statistics = (batch * heads + head) * queries;
    const wide<T> *head_logz = logz + statistics, *head_delta = delta + statistics;
    for (long long from = begin / TILE * TILE; from < queries; from += TILE) {
      __syncthreads();
      fetch<T, D, TILE>(qs, head_q, q_row, from, queries, channels);
      fetch<T, D, TILE>(gs, head_dout, o_steps.row, from, queries, channels);
      __syncthreads();
      W scores[R][R], products[R][R];
      dot_rows<W, D, TILE>(scores, ks, qs);
      dot_rows<W, D, TILE>(products, vs, gs);
      Drawn drawn;
#pragma unroll
      for (int i = 0; i < R; ++i)
#pragma unroll
        for (int j = 0; j < R; ++j) {
          const long long key = start + y * R + i, query = from + x + SIDE<TILE> * j;
          W weight = 0, dscore = 0;
          if (query < queries && key <= first_query + query) {
            weight = exp(scores[i][j] * (W)scale - head_logz[query]);
            const W factor = DROPS ? (W)kept(dropping, drawn, batch, heads, head, queries, query, key) : (W)1;
            dscore = weight * (factor * products[i][j] - head_delta[query]);
            weight *= factor;
          }
          weights[(y * R + i) * (TILE + 1) + x + SIDE<TILE> * j] = weight;
          ds[(y * R + i) * (TILE + 1) + x + SIDE<TILE> * j] = dscore;
        }
      __syncthreads();
      add_weighted<W, D, TILE>(dv_sums, weights, gs);
      add_weighted<W, D, TILE>(dk_sums, ds, qs);
    }
  }
  put<T, D, TILE>(locate(dk, k_steps, batch, shared_head), k_row, start, keys, channels, dk_sums, (W)scale);
  put<T, D, TILE>(locate(dv, k_steps, batch, shared_head), k_row, start, keys, channels, dv_sums, (W)1);
}
