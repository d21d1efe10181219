// Attention on tensor cores, in bfloat16 or TF32: 64 queries (or keys) a block, 16 for each of its 4 warps, any number
// of channels up to D. The weights stay in registers between the product that makes them and the one that takes them.

template <typename T, int D, bool DROPS>
__global__ void attention_mma(const T* q, const T* k, const T* v, T* o, float* logz, ATTENTION_SIZES,
                              DROPOUT_SETTINGS) {
  SHARED_MEMORY(T, memory);
  const Shared<T, D> qs{memory}, ks{qs.at + qs.SIZE}, vs{ks.at + ks.SIZE};
  UNPACK_ARGUMENTS
  const long long head = blockIdx.y, shared_head = head / sharing;
  const int own = threadIdx.x / 32 * 16;  // the first of the warp's rows
  const long long start = (long long)(gridDim.x - 1 - blockIdx.x) * ROWS;
  q = locate(q, q_steps, batch, head);
  k = locate(k, k_steps, batch, shared_head), v = locate(v, k_steps, batch, shared_head);
  qs.fetch(q, q_row, start, queries, channels);
  __syncthreads();
  const Own<T, D> q_tiles(qs, own);
  const float factor = (float)scale * LOG2E;
  float sums[D / 8][4] = {}, top[2] = {-infinity<float>(), -infinity<float>()}, z[2] = {};  // top: before scaling
  const long long end = first_query + start + ROWS < keys ? first_query + start + ROWS : keys;
  for (long long from = 0; from < end; from += ROWS) {
    __syncthreads();
    ks.fetch(k, k_row, from, keys, channels);
    vs.fetch(v, k_row, from, keys, channels);
    __syncthreads();
    float scores[ROWS / 8][4], highest[2] = {top[0], top[1]};
    dot_tiles(scores, q_tiles, ks, 0);
    const int reach = (int)(first_query + start + own - from);  // row r of the warp sees columns up to reach + r
    if (reach < ROWS - 1)
#pragma unroll
      for (int n = 0; n < ROWS / 8; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          if (8 * n + column_in_tile(i) > reach + row_in_tile(i)) scores[n][i] = -infinity<float>();
#pragma unroll
    for (int n = 0; n < ROWS / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) highest[i / 2] = fmaxf(highest[i / 2], scores[n][i]);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      for (int other = 1; other < 4; other *= 2)
        highest[half] = fmaxf(highest[half], __shfl_xor_sync(0xffffffffu, highest[half], other));
      const float correction = exp2f((top[half] - highest[half]) * factor);
      top[half] = highest[half];
      z[half] *= correction;
#pragma unroll
      for (int n = 0; n < D / 8; ++n) sums[n][2 * half] *= correction, sums[n][2 * half + 1] *= correction;
    }
    const float shift[2] = {top[0] * factor, top[1] * factor};
    Drawn drawn[2];
#pragma unroll
    for (int n = 0; n < ROWS / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        scores[n][i] = exp2f(scores[n][i] * factor - shift[i / 2]);
        z[i / 2] += scores[n][i];
        if (DROPS && 8 * n + column_in_tile(i) <= reach + row_in_tile(i)) {
          const long long query = start + own + row_in_tile(i), key = from + 8 * n + column_in_tile(i);
          if (query < queries)
            scores[n][i] *= (float)kept(dropping, drawn[i / 2], batch, heads, head, queries, query, key);
        }
      }
    add_tiles(sums, scores, vs, 0);
  }
  float inverse[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    for (int other = 1; other < 4; other *= 2) z[half] += __shfl_xor_sync(0xffffffffu, z[half], other);
    inverse[half] = 1 / z[half];
    const long long query = start + own + row_in_tile(2 * half);
    if (threadIdx.x % 4 == 0 && logz && query < queries)
      logz[(batch * heads + head) * queries + query] = top[half] * (float)scale + log(z[half]);
  }
  put_tiles<T, D>(locate(o, o_steps, batch, head), o_steps.row, start + own, queries, channels, sums, inverse);
}

// dq and delta, for a tile of queries.
template <typename T, int D, bool DROPS>
__global__ void attention_dq_mma(const T* q, const T* k, const T* v, const T* dout, const T* o, const float* logz,
                                 T* dq, float* delta, ATTENTION_SIZES, DROPOUT_SETTINGS) {
  SHARED_MEMORY(T, memory);
  const Shared<T, D> qs{memory}, ks{qs.at + qs.SIZE}, vs{ks.at + ks.SIZE}, gs{vs.at + vs.SIZE};
  UNPACK_ARGUMENTS
  const long long head = blockIdx.y, shared_head = head / sharing;
  const int own = threadIdx.x / 32 * 16;
  const long long start = (long long)(gridDim.x - 1 - blockIdx.x) * ROWS;
  q = locate(q, q_steps, batch, head);
  k = locate(k, k_steps, batch, shared_head), v = locate(v, k_steps, batch, shared_head);
  logz += (batch * heads + head) * queries, delta += (batch * heads + head) * queries;
  qs.fetch(q, q_row, start, queries, channels);
  gs.fetch(locate(dout, o_steps, batch, head), o_steps.row, start, queries, channels);
  vs.template fetch<false>(locate(o, o_steps, batch, head), o_steps.row, start, queries, channels);  // for delta alone
  __syncthreads();
  const Own<T, D> q_tiles(qs, own), g_tiles(gs, own);
  const float factor = (float)scale * LOG2E;
  float sums[D / 8][4] = {}, shift[2], go[2];  // go: delta of the rows that this lane holds
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = own + row_in_tile(2 * half);
    shift[half] = shift_of(logz, start + row, queries), go[half] = dot_of_rows(gs, vs, row);
    if (threadIdx.x % 4 == 0 && start + row < queries) delta[start + row] = go[half];
  }
  const long long end = first_query + start + ROWS < keys ? first_query + start + ROWS : keys;
  for (long long from = 0; from < end; from += ROWS) {
    __syncthreads();
    ks.fetch(k, k_row, from, keys, channels);
    vs.fetch(v, k_row, from, keys, channels);
    __syncthreads();
    for (int column = 0; column < ROWS; column += 16) {
      const int reach = (int)(first_query + start + own - from) - column;  // row r sees columns up to reach + r
      if (reach < -15) break;
      float scores[2][4], products[2][4];
      dot_tiles(scores, q_tiles, ks, column);
      dot_tiles(products, g_tiles, vs, column);
      Drawn drawn[2];
#pragma unroll
      for (int n = 0; n < 2; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const bool seen = 8 * n + column_in_tile(i) <= reach + row_in_tile(i);
          const float weight = seen ? exp2f(scores[n][i] * factor - shift[i / 2]) : 0.0f;
          float product = products[n][i];
          if (DROPS && seen) {
            const long long query = start + own + row_in_tile(i), key = from + column + 8 * n + column_in_tile(i);
            if (query < queries)
              product *= (float)kept(dropping, drawn[i / 2], batch, heads, head, queries, query, key);
          }
          scores[n][i] = weight * (product - go[i / 2]);  // dS
        }
      add_tiles(sums, scores, ks, column);
    }
  }
  const float scales[2] = {(float)scale, (float)scale};
  put_tiles<T, D>(locate(dq, q_steps, batch, head), q_row, start + own, queries, channels, sums, scales);
}

// dk and dv, for a tile of keys: rows are keys here and columns queries.
template <typename T, int D, bool DROPS>
__global__ void attention_dkv_mma(const T* q, const T* k, const T* v, const T* dout, const float* logz,
                                  const float* delta, T* dk, T* dv, ATTENTION_SIZES, DROPOUT_SETTINGS) {
  __shared__ float shift[ROWS], go[ROWS];  // log2 z and delta of a tile's queries
  SHARED_MEMORY(T, memory);
  const Shared<T, D> qs{memory}, ks{qs.at + qs.SIZE}, vs{ks.at + ks.SIZE}, gs{vs.at + vs.SIZE};
  UNPACK_ARGUMENTS
  const long long shared_head = blockIdx.y;
  const int own = threadIdx.x / 32 * 16;
  const long long start = (long long)blockIdx.x * ROWS;
  k = locate(k, k_steps, batch, shared_head), v = locate(v, k_steps, batch, shared_head);
  ks.fetch(k, k_row, start, keys, channels);
  vs.fetch(v, k_row, start, keys, channels);
  __syncthreads();
  const Own<T, D> k_tiles(ks, own), v_tiles(vs, own);
  const float factor = (float)scale * LOG2E;
  float dk_sums[D / 8][4] = {}, dv_sums[D / 8][4] = {};
  const long long begin = start > first_query ? start - first_query : 0;  // the first query that sees these keys
  for (long long head = shared_head * sharing; head < (shared_head + 1) * sharing; ++head) {
    const T *head_q = locate(q, q_steps, batch, head), *head_dout = locate(dout, o_steps, batch, head);
    const long long statistics = (batch * heads + head) * queries;
    const float *head_logz = logz + statistics, *head_delta = delta + statistics;
    for (long long from = begin / ROWS * ROWS; from < queries; from += ROWS) {
      __syncthreads();
      qs.fetch(head_q, q_row, from, queries, channels);
      gs.fetch(head_dout, o_steps.row, from, queries, channels);
      if (threadIdx.x < ROWS) {
        shift[threadIdx.x] = shift_of(head_logz, from + threadIdx.x, queries);
        go[threadIdx.x] = delta_of(head_delta, from + threadIdx.x, queries);
      }
      __syncthreads();
      for (int column = 0; column < ROWS; column += 16) {
        const int reach = (int)(first_query + from - start - own) + column;  // column c sees rows up to reach + c
        if (reach < -15) continue;
        float scores[2][4], products[2][4];
        dot_tiles(scores, k_tiles, qs, column);
        dot_tiles(products, v_tiles, gs, column);
        weigh_tile<DROPS>(scores, products, factor, shift + column, go + column, reach, dropping, batch, heads, head,
                          queries, from + column, start + own);
        add_tiles(dv_sums, scores, gs, column);
        add_tiles(dk_sums, products, qs, column);
      }
    }
  }
  const float one[2] = {1, 1}, scales[2] = {(float)scale, (float)scale};
  put_tiles<T, D>(locate(dk, k_steps, batch, shared_head), k_row, start + own, keys, channels, dk_sums, scales);
  put_tiles<T, D>(locate(dv, k_steps, batch, shared_head), k_row, start + own, keys, channels, dv_sums, one);
}
