// Products of tiles on tensor cores, in bfloat16 or in float rounded to TF32, sums in float.
//
// The unit is mma.m16n8: C (16 x 8) += A (16 x DEPTH) B (DEPTH x 8). Lane l of a warp holds, with g = l / 4, t = l % 4:
//
//               C  c0 c1: row g, columns 2t 2t+1        c2 c3: row g + 8
//     bfloat16  A  a0: row g, columns 2t 2t+1           a1: row g + 8        a2, a3: the same, columns + 8
//     16 deep   B  b0: column g, rows 2t 2t+1           b1: rows + 8
//     TF32      A  a0: row g, column t                  a1: row g + 8        a2, a3: the same, column t + 4
//     8 deep    B  b0: column g, row t                  b1: row t + 4
//
// So two C tiles side by side, rounded, are an A tile of bfloat16: the result of one product is an operand of the next
// without leaving the registers. And one C tile is an A tile of TF32 whose columns are in the order 0 2 4 6 1 3 5 7:
// with B's rows in that order too, the product is the same.

constexpr int ROWS = 64;  // of a tile in shared memory

__device__ __forceinline__ void mma_bfloat16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

__device__ __forceinline__ void mma_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// To the nearest number of TF32, which has float's exponent and 10 bits of its fraction, ties away from zero.
__device__ __forceinline__ unsigned to_tf32(float x) {
  unsigned bits = 0;
#if __CUDA_ARCH__ >= 800
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
#endif
  return bits;
}

// Two 8 x 8 tiles, transposed: lane l < 16 gives the address of row l % 8 of tile l / 8.
__device__ __forceinline__ void load_transposed(unsigned (&b)[2], const bfloat16* row) {
#if __CUDA_ARCH__ >= 800
  const unsigned address = (unsigned)__cvta_generic_to_shared(row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(b[0]), "=r"(b[1])
               : "r"(address)
               : "memory");
#endif
}

// Two neighbouring numbers as a register holds them, the first in the low half
__device__ __forceinline__ unsigned two(const bfloat16* at) { return *reinterpret_cast<const unsigned*>(at); }
__device__ __forceinline__ unsigned two(float low, float high) {
#if __CUDA_ARCH__ >= 800
  unsigned both;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
  return both;
#else
  return narrow<bfloat16>(low).bits | (unsigned)narrow<bfloat16>(high).bits << 16;
#endif
}

// x as a product takes it
__device__ __forceinline__ bfloat16 rounded(bfloat16 x) { return x; }
__device__ __forceinline__ float rounded(float x) { return __uint_as_float(to_tf32(x)); }

// The product and how its operands are read, for arrays of T. GAP: unused elements between rows in shared memory, so
// that the rows begin in different banks. A tile begins at `corner`, and its rows are `step` elements apart.
template <typename T> struct Unit;
template <> struct Unit<bfloat16> {
  static constexpr int DEPTH = 16, GAP = 8;
  static __device__ __forceinline__ void mma(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    mma_bfloat16(c, a, b);
  }
  static __device__ __forceinline__ void a(unsigned (&tile)[4], const bfloat16* corner, int step) {
    const bfloat16* at = corner + threadIdx.x % 32 / 4 * step + threadIdx.x % 4 * 2;
    tile[0] = two(at), tile[1] = two(at + 8 * step), tile[2] = two(at + 8), tile[3] = two(at + 8 * step + 8);
  }
  // B whose columns are rows in memory
  static __device__ __forceinline__ void b(unsigned (&tile)[2], const bfloat16* corner, int step) {
    const bfloat16* at = corner + threadIdx.x % 32 / 4 * step + threadIdx.x % 4 * 2;
    tile[0] = two(at), tile[1] = two(at + 8);
  }
  // B whose rows are rows in memory
  static __device__ __forceinline__ void b_rows(unsigned (&tile)[2], const bfloat16* corner, int step) {
    load_transposed(tile, corner + threadIdx.x % 16 * step);
  }
  // A from the C tiles n and n + 1
  template <int P> static __device__ __forceinline__ void a_of(unsigned (&tile)[4], const float (&c)[P][4], int n) {
    tile[0] = two(c[n][0], c[n][1]), tile[1] = two(c[n][2], c[n][3]);
    tile[2] = two(c[n + 1][0], c[n + 1][1]), tile[3] = two(c[n + 1][2], c[n + 1][3]);
  }
};
template <> struct Unit<float> {
  static constexpr int DEPTH = 8, GAP = 4;
  static __device__ __forceinline__ unsigned bits(float x) { return __float_as_uint(x); }  // rounded by fetch
  static __device__ __forceinline__ void mma(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    mma_tf32(c, a, b);
  }
  static __device__ __forceinline__ void a(unsigned (&tile)[4], const float* corner, int step) {
    const float* at = corner + threadIdx.x % 32 / 4 * step + threadIdx.x % 4;
    tile[0] = bits(at[0]), tile[1] = bits(at[8 * step]), tile[2] = bits(at[4]), tile[3] = bits(at[8 * step + 4]);
  }
  static __device__ __forceinline__ void b(unsigned (&tile)[2], const float* corner, int step) {
    const float* at = corner + threadIdx.x % 32 / 4 * step + threadIdx.x % 4;
    tile[0] = bits(at[0]), tile[1] = bits(at[4]);
  }
  // its rows in the order of a_of's columns
  static __device__ __forceinline__ void b_rows(unsigned (&tile)[2], const float* corner, int step) {
    const float* at = corner + threadIdx.x % 4 * 2 * step + threadIdx.x % 32 / 4;
    tile[0] = bits(at[0]), tile[1] = bits(at[step]);
  }
  // A from the C tile n
  template <int P> static __device__ __forceinline__ void a_of(unsigned (&tile)[4], const float (&c)[P][4], int n) {
    tile[0] = to_tf32(c[n][0]), tile[1] = to_tf32(c[n][2]), tile[2] = to_tf32(c[n][1]), tile[3] = to_tf32(c[n][3]);
  }
};

// ROWS rows of up to D channels, in shared memory.
template <typename T, int D> struct Shared {
  static constexpr int STEP = D + Unit<T>::GAP, SIZE = ROWS * STEP, V = 16 / sizeof(T);
  T* at;

  __device__ __forceinline__ const T* corner(int row, int column) const { return at + row * STEP + column; }

  // Fill it with rows start .. start + ROWS - 1 of an array, by THREADS threads: zeros from row `stop` and from column
  // `channels` on. ROUND: to what a product takes.
  template <bool ROUND = true, int THREADS = 128>
  __device__ void fetch(const T* array, long long row_step, long long start, long long stop, long long channels) const {
    const bool whole = channels % V == 0 && row_step % V == 0 && (unsigned long long)array % 16 == 0;
    for (int i = threadIdx.x; i < ROWS * (D / V); i += THREADS) {
      const int r = i / (D / V), c = i % (D / V) * V;
      const T* from = array + (start + r) * row_step + c;
      Pack<T, V> pack;
      if (whole && start + r < stop && c < channels)
        pack = load<V>(from);
      else
        for (int j = 0; j < V; ++j) pack.at[j] = start + r < stop && c + j < channels ? from[j] : T{0};
      if constexpr (ROUND)
        for (int j = 0; j < V; ++j) pack.at[j] = rounded(pack.at[j]);
      store(at + r * STEP + c, pack);
    }
  }
};

// The A tiles of 16 rows, which stay the same while a warp goes through tiles of B: in registers where there is room,
// else read from shared memory each time.
template <typename T, int D> struct Own {
  static constexpr int DEPTH = Unit<T>::DEPTH;
  static constexpr bool HELD = D <= 64;
  unsigned held[HELD ? D / DEPTH : 1][4];
  const T* rows;

  __device__ __forceinline__ Own(const Shared<T, D>& from, int row) : rows(from.corner(row, 0)) {
    if constexpr (HELD)
#pragma unroll
      for (int c = 0; c < D / DEPTH; ++c) Unit<T>::a(held[c], rows + c * DEPTH, from.STEP);
  }
  __device__ __forceinline__ void tile(unsigned (&tile)[4], int c) const {
    if constexpr (HELD) {
#pragma unroll
      for (int i = 0; i < 4; ++i) tile[i] = held[c][i];
    } else {
      Unit<T>::a(tile, rows + c * DEPTH, Shared<T, D>::STEP);
    }
  }
};

// scores (16 x 8 P) = the 16 rows of `own` times the transpose of rows column .. column + 8 P - 1 of b
template <typename T, int D, int P>
__device__ __forceinline__ void dot_tiles(float (&scores)[P][4], const Own<T, D>& own, const Shared<T, D>& b,
                                          int column) {
#pragma unroll
  for (int n = 0; n < P; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) scores[n][i] = 0;
#pragma unroll
  for (int c = 0; c < D / Unit<T>::DEPTH; ++c) {
    unsigned left[4], right[2];
    own.tile(left, c);
#pragma unroll
    for (int n = 0; n < P; ++n) {
      Unit<T>::b(right, b.corner(column + 8 * n, c * Unit<T>::DEPTH), b.STEP);
      Unit<T>::mma(scores[n], left, right);
    }
  }
}

// sums (16 x D) += weights (16 x 8 P) times rows row .. row + 8 P - 1 of b
template <typename T, int D, int P>
__device__ __forceinline__ void add_tiles(float (&sums)[D / 8][4], const float (&weights)[P][4],
                                          const Shared<T, D>& b, int row) {
#pragma unroll
  for (int k = 0; k < P; k += Unit<T>::DEPTH / 8) {
    unsigned left[4], right[2];
    Unit<T>::a_of(left, weights, k);
#pragma unroll
    for (int n = 0; n < D / 8; ++n) {
      Unit<T>::b_rows(right, b.corner(row + 8 * k, 8 * n), b.STEP);
      Unit<T>::mma(sums[n], left, right);
    }
  }
}

// Row (0: g, 1: g + 8) and column within a tile of the i-th number that this lane holds
__device__ __forceinline__ int row_in_tile(int i) { return threadIdx.x % 32 / 4 + i / 2 * 8; }
__device__ __forceinline__ int column_in_tile(int i) { return threadIdx.x % 4 * 2 + i % 2; }

// Row `row` of a times row `row` of b, for a row of which this lane holds numbers. All four lanes that do get the sum.
template <typename T, int D>
__device__ __forceinline__ float dot_of_rows(const Shared<T, D>& a, const Shared<T, D>& b, int row) {
  float sum = 0;
#pragma unroll
  for (int c = column_in_tile(0); c < D; c += 8) {
    const Pack<T, 2> left = load<2>(a.corner(row, c)), right = load<2>(b.corner(row, c));
    sum += widen(left.at[0]) * widen(right.at[0]) + widen(left.at[1]) * widen(right.at[1]);
  }
  for (int other = 1; other < 4; other *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, other);
  return sum;
}

// Rows start .. start + 15 of an array, up to row `stop` and column `channels`, = sums (16 x D) times factor[0] in the
// first 8 of them and factor[1] in the others.
template <typename T, int D>
__device__ __forceinline__ void put_tiles(T* array, long long row_step, long long start, long long stop,
                                          long long channels, const float (&sums)[D / 8][4], const float (&factor)[2]) {
  const bool even = channels % 2 == 0 && row_step % 2 == 0 && (unsigned long long)array % (2 * sizeof(T)) == 0;
#pragma unroll
  for (int n = 0; n < D / 8; ++n)
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
      const long long row = start + row_in_tile(i), c = 8 * n + column_in_tile(i);
      if (row >= stop || c >= channels) continue;
      const Pack<T, 2> pair{narrow<T>(sums[n][i] * factor[i / 2]), narrow<T>(sums[n][i + 1] * factor[i / 2])};
      T* at = array + row * row_step + c;
      if (even) {
        store(at, pair);
      } else {
        at[0] = pair.at[0];
        if (c + 1 < channels) at[1] = pair.at[1];
      }
    }
}
