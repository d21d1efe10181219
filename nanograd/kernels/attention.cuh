// What both attention programs share. Derivation and symbols: nanograd/layers/attention.py.
//
// The (T, T) scores are never stored. A block of threads takes a tile of queries (or keys) of one head and walks over
// the tiles of keys (or queries) that the causal mask leaves, with a softmax that is corrected as it goes (Dao et al.
// 2022, https://arxiv.org/abs/2205.14135). Forward keeps log z of each row; backward computes the weights again from
// it. Backward is a kernel for dq, which also leaves delta = do . o of each row, and one for dk and dv, or one for all of
// a head: every sum belongs to one block and has one order, so that a run can be repeated bit for bit, which atomics would
// not give.

// Where an array (batch, heads, positions, channels) lies: steps from one batch, head and position to the next.
struct Steps {
  long long batch, head, row;
};

// Dropout of attention weights: the masks that nanograd/device/rng.py draws for blocks of `block_rows` query rows.
struct Dropping {
  unsigned long long seed, step;
  long long first, position, keep_below, block_rows;
  double scale;
};

// The last random words that a thread computed: they decide 16 neighbouring weights, and it may need several of those.
struct Drawn {
  long long block = -1;
  Words words;
};

// The factor of the weight between query i and key j of a head: 0 or scale. `queries` is their number in all.
__device__ __forceinline__ double kept(const Dropping& d, Drawn& drawn, long long sample, long long heads,
                                       long long head, long long queries, long long i, long long j) {
  const long long block = i / d.block_rows, start = block * d.block_rows;
  const long long rows = queries - start < d.block_rows ? queries - start : d.block_rows, keys = start + rows;
  const long long before = heads * d.block_rows * d.block_rows / 4 * (block * (block + 1) / 2);
  const long long element = (head * rows + i - start) * keys + j;
  const long long word = d.position + before + element / 4;
  if (word / 4 != drawn.block) {
    drawn.block = word / 4;
    drawn.words = philox(1 + word / 4, d.first + sample, d.seed, d.step);
  }
  return bits_of(drawn.words, word, element) < d.keep_below ? d.scale : 0.0;
}

// The arguments that all attention kernels have in common, and their packing into structures. `sharing` heads of queries
// in a row share one of keys and values.
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

template <typename T> __device__ __forceinline__ T* locate(T* array, const Steps& steps, long long batch, long long head) {
  return array + batch * steps.batch + head * steps.head;
}
