// Attention's backward pass on tensor cores in one kernel, bfloat16, heads of up to 64 channels: five products of T x T
// where attention_dq_mma and attention_dkv_mma, which both need S and dP, take seven.
//
// A block computes all of one head of keys and values. It goes through tiles of KEYS keys, 16 for each of its 8 warps,
// and for each of these through the tiles of queries that see it; rows are keys and columns queries. After the last of
// them dk and dv of the tile of keys are complete. dq is complete after the last tile of keys: until then it is in
// `dq_sums`, in float, where the same thread adds to the same numbers each time. So no two threads share a sum, and
// every sum has one order. first_query is 0 here: a query's number is its position.
//
// The gradient of a bias of queries, keys and values is the sum of dq, dk and dv over positions. A block adds up those
// of its head and writes them to slab `batch` of dbias (partial_sums.py), whose slabs are `step` numbers apart; slabs
// beyond the last sample become 0. With `add` all are added to what is there.

constexpr int THREADS = 256, KEYS = 2 * ROWS;
constexpr int STEP_OF_DS = ROWS + 8;  // elements from one row of dS to the next, with a gap as in tensor_cores.cuh

// place[c] += factor times the sum of column c of `sums`, over the 16 rows that a warp holds. The whole warp calls it.
template <int P>
__device__ __forceinline__ void add_columns(float* place, const float (&sums)[P][4], float factor) {
#pragma unroll
  for (int n = 0; n < P; ++n)
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      float sum = (sums[n][j] + sums[n][j + 2]) * factor;
      for (int other = 4; other < 32; other *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, other);
      if (threadIdx.x % 32 < 4) place[8 * n + column_in_tile(j)] += sum;
    }
}

template <typename T, int D, bool DROPS>
__global__ void attention_whole_mma(const T* q, const T* k, const T* v, const T* dout, const T* o, const float* logz,
                                    T* dq, T* dk, T* dv, float* delta, float* dq_sums, float* dbias, long long slabs,
                                    long long step, long long add, ATTENTION_SIZES, DROPOUT_SETTINGS) {
  static_assert(sizeof(T) == 2, "dS is transposed 16 bits at a time");
  __shared__ float shift[ROWS], go[ROWS];  // log2 z and delta of a tile's queries
  __shared__ float of_warp[3][8][D];       // each warp's sums of dq, dk and dv over positions
  SHARED_MEMORY(T, memory);
  const Shared<T, D> ks{memory}, vs{ks.at + 2 * ks.SIZE}, qs{vs.at + 2 * vs.SIZE}, gs{qs.at + qs.SIZE};
  T* ds = gs.at + gs.SIZE;  // (KEYS, ROWS): dS of a tile
  const Shared<T, D> os{ds};  // a tile of o, until the place is needed for dS
  UNPACK_ARGUMENTS
  const long long shared_head = blockIdx.y;
  const int warp = threadIdx.x / 32, own = warp * 16;                    // the warp's first key of a tile
  const int own_query = warp % 4 * 16, own_channel = warp / 4 * (D / 2);  // and the first of its part of a tile of dq
  const float factor = (float)scale * LOG2E;
  k = locate(k, k_steps, batch, shared_head), v = locate(v, k_steps, batch, shared_head);
  for (int c = threadIdx.x; c < 3 * 8 * D; c += THREADS) of_warp[0][0][c] = 0;
  for (long long start = 0; start < keys; start += KEYS) {
    __syncthreads();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const long long from = start + half * ROWS;
      Shared<T, D>{ks.at + half * ks.SIZE}.template fetch<true, THREADS>(k, k_row, from, keys, channels);
      Shared<T, D>{vs.at + half * vs.SIZE}.template fetch<true, THREADS>(v, k_row, from, keys, channels);
    }
    __syncthreads();
    const Own<T, D> k_tiles(ks, own), v_tiles(vs, own);
    float dk_sums[D / 8][4] = {}, dv_sums[D / 8][4] = {};
    for (long long head = shared_head * sharing; head < (shared_head + 1) * sharing; ++head) {
      const T *head_q = locate(q, q_steps, batch, head), *head_dout = locate(dout, o_steps, batch, head);
      const long long statistics = (batch * heads + head) * queries;
      for (long long from = start; from < queries; from += ROWS) {
        __syncthreads();
        qs.template fetch<true, THREADS>(head_q, q_row, from, queries, channels);
        gs.template fetch<true, THREADS>(head_dout, o_steps.row, from, queries, channels);
        if (start == 0)
          os.template fetch<true, THREADS>(locate(o, o_steps, batch, head), o_steps.row, from, queries, channels);
        if (threadIdx.x < ROWS) {
          shift[threadIdx.x] = shift_of(logz + statistics, from + threadIdx.x, queries);
          if (start > 0) go[threadIdx.x] = delta_of(delta + statistics, from + threadIdx.x, queries);
        }
        __syncthreads();
        if (start == 0) {  // delta = do . o of each row, kept for the other tiles of keys
          if (warp < 4)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
              const int row = own + row_in_tile(2 * half);
              const float dot = dot_of_rows(gs, os, row);
              if (threadIdx.x % 4 > 0) continue;
              go[row] = dot;
              if (from + row < queries) delta[statistics + from + row] = dot;
            }
          __syncthreads();
        }
        const int tile_reach = (int)(from - start) - own;
        for (int column = 0; column < ROWS; column += 16) {
          const int reach = tile_reach + column;  // column c sees rows up to reach + c
          float scores[2][4] = {}, products[2][4] = {};
          if (reach >= 0) {  // a multiple of 16: below 0 none of these queries sees one of the keys, and dS is 0
            dot_tiles(scores, k_tiles, qs, column);
            dot_tiles(products, v_tiles, gs, column);
            weigh_tile<DROPS>(scores, products, factor, shift + column, go + column, reach, dropping, batch, heads,
                              head, queries, from + column, start + own);
            add_tiles(dv_sums, scores, gs, column);
            add_tiles(dk_sums, products, qs, column);
          }
#pragma unroll
          for (int n = 0; n < 2; ++n)
#pragma unroll
            for (int i = 0; i < 4; i += 2)
              *reinterpret_cast<unsigned*>(ds + (own + row_in_tile(i)) * STEP_OF_DS + column + 8 * n +
                                           column_in_tile(i)) = two(products[n][i], products[n][i + 1]);
        }
        __syncthreads();
        float sums[D / 16][4] = {};  // of dq: 16 queries, half of the channels
        const long long seen = from + ROWS - start;  // the tile's keys that a query of this tile sees
        for (int key = 0; key < KEYS && key < seen; key += 16) {
          unsigned even[2], odd[2], right[2];
          const T* corner = ds + (key + threadIdx.x % 16) * STEP_OF_DS + own_query;
          load_transposed(even, corner), load_transposed(odd, corner + 8);
          const unsigned left[4] = {even[0], odd[0], even[1], odd[1]};
#pragma unroll
          for (int n = 0; n < D / 16; ++n) {
            Unit<T>::b_rows(right, ks.corner(key, own_channel + 8 * n), ks.STEP);
            Unit<T>::mma(sums[n], left, right);
          }
        }
        float* place = dq_sums + (statistics + from + own_query) * D + own_channel;
        const bool last = start + KEYS >= from + ROWS;
#pragma unroll
        for (int n = 0; n < D / 16; ++n)
#pragma unroll
          for (int i = 0; i < 4; i += 2) {
            if (from + own_query + row_in_tile(i) >= queries) continue;
            float* at = place + row_in_tile(i) * D + 8 * n + column_in_tile(i);
            if (start > 0) {
              const Pack<float, 2> before = load<2>(at);
              sums[n][i] += before.at[0], sums[n][i + 1] += before.at[1];
            }
            if (!last) store(at, Pack<float, 2>{sums[n][i], sums[n][i + 1]});
          }
        if (last) {
          if (dbias) add_columns(of_warp[0][warp] + own_channel, sums, (float)scale);
          const float scales[2] = {(float)scale, (float)scale};
          put_tiles<T, D / 2>(locate(dq, q_steps, batch, head) + own_channel, q_row, from + own_query, queries,
                              channels - own_channel, sums, scales);
        }
      }
    }
    if (dbias) add_columns(of_warp[1][warp], dk_sums, (float)scale), add_columns(of_warp[2][warp], dv_sums, 1.0f);
    const float one[2] = {1, 1}, scales[2] = {(float)scale, (float)scale};
    put_tiles<T, D>(locate(dk, k_steps, batch, shared_head), k_row, start + own, keys, channels, dk_sums, scales);
    put_tiles<T, D>(locate(dv, k_steps, batch, shared_head), k_row, start + own, keys, channels, dv_sums, one);
  }
  if (!dbias) return;
  __syncthreads();
  const int part = threadIdx.x / D, c = threadIdx.x % D;
  if (part > 2 || c >= channels) return;
  float total = 0;
  for (int other = 0; other < 8; ++other) total += of_warp[part][other][c];
  dbias += (part * heads + shared_head) * channels + c;  // dbias is given where heads share no keys: sharing is 1
  for (long long slab = batch; slab < slabs; slab += gridDim.z) {
    const float own_sum = slab == batch ? total : 0;
    dbias[slab * step] = add ? dbias[slab * step] + own_sum : own_sum;
  }
}
