// Attention in bfloat16 on tensor cores: 64 queries (or keys) a block, 16 for each of its 4 warps, any number of
// channels up to D, sums in float.
//
// The unit is mma.m16n8k16: C (16 x 8) += A (16 x 16) B (16 x 8). Lane l of a warp holds, with g = l / 4, t = l % 4:
//
//     C  c0 c1: row g, columns 2t 2t+1           c2 c3: row g + 8
//     A  a0: row g, columns 2t 2t+1              a1: row g + 8        a2, a3: the same, columns + 8
//     B  b0: column g, rows 2t 2t+1              b1: rows + 8
//
// so two C tiles side by side, rounded, are an A tile: the weights go from one product into the next in registers.

constexpr int ROWS = 64;

#ifndef OWN_TENSOR_CORES
__device__ __forceinline__ void mma(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// Two 8 x 8 tiles, transposed: lane l < 16 names row l % 8 of tile l / 8.
__device__ __forceinline__ void load_transposed(unsigned (&b)[2], const bfloat16* row) {
#if __CUDA_ARCH__ >= 800
  const unsigned address = (unsigned)__cvta_generic_to_shared(row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];" : "=r"(b[0]), "=r"(b[1]) : "r"(address) : "memory");
#endif
}
#endif

__device__ __forceinline__ unsigned two(const bfloat16* at) { return *reinterpret_cast<const unsigned*>(at); }
__device__ __forceinline__ unsigned two(float low, float high) {
  return narrow<bfloat16>(low).bits | (unsigned)narrow<bfloat16>(high).bits << 16;
}

// A and B tiles from shared memory with D + 8 elements a row, which spreads the rows over the banks.
template <int D> struct Shared {
  static constexpr int STEP = D + 8;
  bfloat16* at;

  __device__ __forceinline__ void a(unsigned (&tile)[4], int row, int column) const {
    const bfloat16* corner = at + (row + threadIdx.x % 32 / 4) * STEP + column + threadIdx.x % 4 * 2;
    tile[0] = two(corner), tile[1] = two(corner + 8 * STEP), tile[2] = two(corner + 8), tile[3] = two(corner + 8 * STEP + 8);
  }
  // B whose columns are rows in memory
  __device__ __forceinline__ void b(unsigned (&tile)[2], int column, int row) const {
    const bfloat16* corner = at + (column + threadIdx.x % 32 / 4) * STEP + row + threadIdx.x % 4 * 2;
    tile[0] = two(corner), tile[1] = two(corner + 8);
  }
  // B whose rows are rows in memory
  __device__ __forceinline__ void b_rows(unsigned (&tile)[2], int row, int column) const {
    load_transposed(tile, at + (row + threadIdx.x % 16) * STEP + column);
  }

  __device__ void fetch(const bfloat16* array, long long row_step, long long start, long long stop, long long channels) const {
    const bool whole = channels % 8 == 0 && row_step % 8 == 0 && (unsigned long long)array % 16 == 0;
    for (int i = threadIdx.x; i < ROWS * (D / 8); i += 128) {
      const int r = i / (D / 8), c = i % (D / 8) * 8;
      const bfloat16* from = array + (start + r) * row_step + c;
      Pack<bfloat16, 8> pack;
      if (whole && start + r < stop && c < channels)
        pack = load<8>(from);
      else
        for (int j = 0; j < 8; ++j) pack.at[j] = start + r < stop && c + j < channels ? from[j] : bfloat16{0};
      store(at + r * STEP + c, pack);
    }
  }
};

// scores (16 x 8 P) = rows `row` .. of a times the transpose of rows `column` .. of b
template <int D, int P>
__device__ __forceinline__ void dot_tiles(float (&scores)[P][4], const Shared<D>& a, int row, const Shared<D>& b, int column) {
#pragma unroll
  for (int n = 0; n < P; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) scores[n][i] = 0;
  for (int c = 0; c < D; c += 16) {
    unsigned left[4], right[2];
    a.a(left, row, c);
#pragma unroll
    for (int n = 0; n < P; ++n) {
      b.b(right, column + 8 * n, c);
      mma(scores[n], left, right);
    }
  }
}

// sums (16 x D) += weights (16 x 16) times rows `row` .. row + 15 of b
template <int D>
__device__ __forceinline__ void add_tiles(float (&sums)[D / 8][4], const float (&w0)[4], const float (&w1)[4], const Shared<D>& b, int row) {
  const unsigned left[4] = {two(w0[0], w0[1]), two(w0[2], w0[3]), two(w1[0], w1[1]), two(w1[2], w1[3])};
#pragma unroll
  for (int n = 0; n < D / 8; ++n) {
    unsigned right[2];
    b.b_rows(right, row, 8 * n);
    mma(sums[n], left, right);
  }
}

// Row (0: g, 1: g + 8) and column within a tile of the i-th number that this lane holds
__device__ __forceinline__ int row_in_tile(int i) { return threadIdx.x % 32 / 4 + i / 2 * 8; }
__device__ __forceinline__ int column_in_tile(int i) { return threadIdx.x % 4 * 2 + i % 2; }

template <int D>
__device__ __forceinline__ void put_tiles(bfloat16* array, long long row_step, long long start, long long stop,
                                          long long channels, const float (&sums)[D / 8][4], const float (&factor)[2]) {
#pragma unroll
  for (int n = 0; n < D / 8; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const long long row = start + row_in_tile(i), c = 8 * n + column_in_tile(i);
      if (row < stop && c < channels) array[row * row_step + c] = narrow<bfloat16>(sums[n][i] * factor[i / 2]);
    }
}

template <typename T, int D, bool DROPS>
__global__ void attention_mma(const T* q, const T* k, const T* v, T* o, float* logz, ATTENTION_SIZES, DROPOUT_SETTINGS) {
  SHARED_MEMORY(T, memory);
  const Shared<D> qs{memory}, ks{qs.at + ROWS * qs.STEP}, vs{ks.at + ROWS * ks.STEP};
  UNPACK_ARGUMENTS
  const int own = threadIdx.x / 32 * 16;  // the first of the warp's rows
  const long long start = (long long)(gridDim.x - 1 - blockIdx.x) * ROWS;
  q = locate(q, q_steps, batch, head), k = locate(k, k_steps, batch, head), v = locate(v, k_steps, batch, head);
  qs.fetch(q, q_row, start, queries, channels);
  float sums[D / 8][4] = {}, top[2] = {-infinity<float>(), -infinity<float>()}, z[2] = {};
  const long long end = first_query + start + ROWS < keys ? first_query + start + ROWS : keys;
  for (long long from = 0; from < end; from += ROWS) {
    __syncthreads();
    ks.fetch(k, k_row, from, keys, channels);
    vs.fetch(v, k_row, from, keys, channels);
    __syncthreads();
    float scores[ROWS / 8][4], highest[2] = {top[0], top[1]};
    dot_tiles<D>(scores, qs, own, ks, 0);
#pragma unroll
    for (int n = 0; n < ROWS / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const long long query = start + own + row_in_tile(i), key = from + 8 * n + column_in_tile(i);
        scores[n][i] = key <= first_query + query ? scores[n][i] * (float)scale : -infinity<float>();
        highest[i / 2] = larger(highest[i / 2], scores[n][i]);
      }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      for (int other = 1; other < 4; other *= 2)
        highest[half] = larger(highest[half], __shfl_xor_sync(0xffffffffu, highest[half], other));
      const float correction = exp(top[half] - highest[half]);
      top[half] = highest[half];
      z[half] *= correction;
#pragma unroll
      for (int n = 0; n < D / 8; ++n) sums[n][2 * half] *= correction, sums[n][2 * half + 1] *= correction;
    }
#pragma unroll
    for (int n = 0; n < ROWS / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        scores[n][i] = exp(scores[n][i] - top[i / 2]);
        z[i / 2] += scores[n][i];
        const long long query = start + own + row_in_tile(i), key = from + 8 * n + column_in_tile(i);
        if (DROPS && query < queries && key <= first_query + query)
          scores[n][i] *= (float)kept(dropping, batch, heads, head, queries, query, key);
      }
#pragma unroll
    for (int n = 0; n < ROWS / 8; n += 2) add_tiles<D>(sums, scores[n], scores[n + 1], vs, 8 * n);
  }
  float inverse[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    for (int other = 1; other < 4; other *= 2) z[half] += __shfl_xor_sync(0xffffffffu, z[half], other);
    inverse[half] = 1 / z[half];
    const long long query = start + own + row_in_tile(2 * half);
    if (threadIdx.x % 4 == 0 && logz && query < queries)
      logz[(batch * heads + head) * queries + query] = top[half] + log(z[half]);
  }
  put_tiles<D>(locate(o, o_steps, batch, head), o_steps.row, start + own, queries, channels, sums, inverse);
}

// P m and dS of one score, from which all gradients follow
struct Slope {
  float weight, dscore;
};
__device__ __forceinline__ Slope slope_of(float score, float product, float logz, float delta, float factor) {
  const float weight = exp(score - logz);
  return {weight * factor, weight * (factor * product - delta)};
}

template <typename T, int D, bool DROPS>
__global__ void attention_dq_mma(const T* q, const T* k, const T* v, const T* dout, const float* logz,
                                 const float* delta, T* dq, ATTENTION_SIZES, DROPOUT_SETTINGS) {
  SHARED_MEMORY(T, memory);
  const Shared<D> qs{memory}, ks{qs.at + ROWS * qs.STEP}, vs{ks.at + ROWS * ks.STEP}, gs{vs.at + ROWS * vs.STEP};
  UNPACK_ARGUMENTS
  const int own = threadIdx.x / 32 * 16;
  const long long start = (long long)(gridDim.x - 1 - blockIdx.x) * ROWS;
  q = locate(q, q_steps, batch, head), k = locate(k, k_steps, batch, head), v = locate(v, k_steps, batch, head);
  logz += (batch * heads + head) * queries, delta += (batch * heads + head) * queries;
  qs.fetch(q, q_row, start, queries, channels);
  gs.fetch(locate(dout, o_steps, batch, head), o_steps.row, start, queries, channels);
  float sums[D / 8][4] = {};
  const long long end = first_query + start + ROWS < keys ? first_query + start + ROWS : keys;
  for (long long from = 0; from < end; from += ROWS) {
    __syncthreads();
    ks.fetch(k, k_row, from, keys, channels);
    vs.fetch(v, k_row, from, keys, channels);
    __syncthreads();
    for (int column = 0; column < ROWS; column += 16) {
      float scores[2][4], products[2][4];
      dot_tiles<D>(scores, qs, own, ks, column);
      dot_tiles<D>(products, gs, own, vs, column);
#pragma unroll
      for (int n = 0; n < 2; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const long long query = start + own + row_in_tile(i), key = from + column + 8 * n + column_in_tile(i);
          if (query < queries && key <= first_query + query) {
            const float factor = DROPS ? (float)kept(dropping, batch, heads, head, queries, query, key) : 1.0f;
            scores[n][i] = slope_of(scores[n][i] * (float)scale, products[n][i], logz[query], delta[query], factor).dscore;
          } else {
            scores[n][i] = 0;
          }
        }
      add_tiles<D>(sums, scores[0], scores[1], ks, column);
    }
  }
  const float factor[2] = {(float)scale, (float)scale};
  put_tiles<D>(locate(dq, q_steps, batch, head), q_row, start + own, queries, channels, sums, factor);
}

// Rows are keys here and columns queries.
template <typename T, int D, bool DROPS>
__global__ void attention_dkv_mma(const T* q, const T* k, const T* v, const T* dout, const float* logz,
                                  const float* delta, T* dk, T* dv, ATTENTION_SIZES, DROPOUT_SETTINGS) {
  SHARED_MEMORY(T, memory);
  const Shared<D> qs{memory}, ks{qs.at + ROWS * qs.STEP}, vs{ks.at + ROWS * ks.STEP}, gs{vs.at + ROWS * vs.STEP};
  UNPACK_ARGUMENTS
  const int own = threadIdx.x / 32 * 16;
  const long long start = (long long)blockIdx.x * ROWS;
  q = locate(q, q_steps, batch, head), k = locate(k, k_steps, batch, head), v = locate(v, k_steps, batch, head);
  dout = locate(dout, o_steps, batch, head);
  logz += (batch * heads + head) * queries, delta += (batch * heads + head) * queries;
  ks.fetch(k, k_row, start, keys, channels);
  vs.fetch(v, k_row, start, keys, channels);
  float dk_sums[D / 8][4] = {}, dv_sums[D / 8][4] = {};
  const long long begin = start > first_query ? start - first_query : 0;
  for (long long from = begin / ROWS * ROWS; from < queries; from += ROWS) {
    __syncthreads();
    qs.fetch(q, q_row, from, queries, channels);
    gs.fetch(dout, o_steps.row, from, queries, channels);
    __syncthreads();
    for (int column = 0; column < ROWS; column += 16) {
      float scores[2][4], products[2][4];
      dot_tiles<D>(scores, ks, own, qs, column);
      dot_tiles<D>(products, vs, own, gs, column);
#pragma unroll
      for (int n = 0; n < 2; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const long long key = start + own + row_in_tile(i), query = from + column + 8 * n + column_in_tile(i);
          Slope slope{0, 0};
          if (query < queries && key <= first_query + query) {
            const float factor = DROPS ? (float)kept(dropping, batch, heads, head, queries, query, key) : 1.0f;
            slope = slope_of(scores[n][i] * (float)scale, products[n][i], logz[query], delta[query], factor);
          }
          scores[n][i] = slope.weight, products[n][i] = slope.dscore;
        }
      add_tiles<D>(dv_sums, scores[0], scores[1], gs, column);
      add_tiles<D>(dk_sums, products[0], products[1], qs, column);
    }
  }
  const float one[2] = {1, 1}, factor[2] = {(float)scale, (float)scale};
  put_tiles<D>(locate(dk, k_steps, batch, head), k_row, start + own, keys, channels, dk_sums, factor);
  put_tiles<D>(locate(dv, k_steps, batch, head), k_row, start + own, keys, channels, dv_sums, one);
}
