// What attention's three programs share: attention.cu, attention_mma.cu and attention_whole_mma.cu. Derivation and
// symbols: nanograd/layers/attention.py.
//
// The (T, T) scores are never stored. A block of threads takes a tile of queries (or keys) of one head and goes through
// the tiles of keys (or queries) that the causal mask leaves; where a tile has a higher score than those before it, the
// sums so far are rescaled (Dao et al. 2022, https://arxiv.org/abs/2205.14135). Forward keeps log z of each row;
// backward computes the weights again from it. Backward is a kernel for dq, which also keeps delta = do . o of each
// row, and one for dk and dv, or one for all of a head: every sum is made by one block in one order, so that a run can
// be repeated bit for bit, which it could not with atomics.

// Where an array (batch, heads, positions, channels) lies: steps from one batch, head and position to the next.
struct Steps {
  long long batch, head, row;
};

// Dropout of attention weights: the masks that nanograd/device/rng.py draws for blocks of `block_rows` query rows, the
// first one at word `position` of a sample's stream. An element is kept if its 16 random bits are below keep_below.
struct Dropping {
  unsigned long long seed, step;
  long long first, position, keep_below, block_rows;
  double scale;
};

// The block of four random words that a thread computed last. It decides 16 neighbouring weights, of which the thread
// may have several.
struct Drawn {
  long long block = -1;
  Words words;
};

// The factor of the weight between query i and key j of a head: 0 or scale. `queries` is their number in all.
__device__ __forceinline__ double kept(const Dropping& d, Drawn& drawn, long long sample, long long heads,
                                       long long head, long long queries, long long i, long long j) {
  const long long block = i / d.block_rows, start = block * d.block_rows;
  const long long rows = queries - start < d.block_rows ? queries - start : d.block_rows, keys = start + rows;
  // words of the blocks before: block b has heads * block_rows rows of (b + 1) block_rows keys, four to a word
  const long long before = heads * d.block_rows * d.block_rows / 4 * (block * (block + 1) / 2);
  const long long element = (head * rows + i - start) * keys + j;
  const long long word = d.position + before + element / 4;
  if (word / 4 != drawn.block) {
    drawn.block = word / 4;
    drawn.words = philox(1 + word / 4, d.first + sample, d.seed, d.step);
  }
  return bits_of(drawn.words, word, element) < d.keep_below ? d.scale : 0.0;
}

// The arguments that all attention kernels have in common, and what they stand for. `sharing` neighbouring heads of
// queries share one of keys and values; query i has position first_query + i, key j has position j.
#define ATTENTION_SIZES                                                                                              \
  long long heads, long long sharing, long long queries, long long first_query, long long channels, double scale,     \
      long long q_batch, long long q_head, long long q_row, long long k_batch, long long k_head, long long k_row
#define DROPOUT_SETTINGS                                                                                             \
  unsigned long long drop_seed, unsigned long long drop_step, long long drop_first, long long drop_position,          \
      long long drop_keep_below, long long drop_block_rows, double drop_scale
#define UNPACK_ARGUMENTS                                                                                             \
  const long long batch = blockIdx.z, keys = first_query + queries;                                                   \
  const Steps q_steps{q_batch, q_head, q_row}, k_steps{k_batch, k_head, k_row};                                       \
  const Steps o_steps{queries * heads * channels, channels, heads * channels};                                       \
  const Dropping dropping{drop_seed, drop_step, drop_first, drop_position, drop_keep_below, drop_block_rows,          \
                          drop_scale};

template <typename T>
__device__ __forceinline__ T* locate(T* array, const Steps& steps, long long batch, long long head) {
  return array + batch * steps.batch + head * steps.head;
}
