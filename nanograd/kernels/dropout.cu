// Dropout: the masks of nanograd/device/rng.py, bit for bit. A thread computes a block of four random words, which
// decide 16 elements, at a time.

template <typename T>
__device__ __forceinline__ T kept_or_not(const Words& words, long long word, int element, long long keep_below,
                                         double scale) {
  return narrow<T>(bits_of(words, word, element) < keep_below ? (wide<T>)scale : (wide<T>)0);
}

// mask = 0 or scale; y = x mask, unless x is null. A sample has `size` elements, for which `blocks` blocks of random
// words are needed, the first element at word `position` of the sample's stream.
template <typename T>
__global__ void drop(const T* x, T* mask, T* y, long long samples, long long size, long long blocks,
                     unsigned long long seed, unsigned long long step, long long first, long long position,
                     long long keep_below, double scale) {
  constexpr int V = 16 / sizeof(T);
  const bool aligned = ((unsigned long long)x | (unsigned long long)mask | (unsigned long long)y) % 16 == 0;
  for (long long i = first_element<1>(); i < samples * blocks; i += all_elements<1>()) {
    const long long sample = i / blocks, block = position / 4 + i % blocks;
    const Words words = philox(1 + block, first + sample, seed, step);
    const long long begin = (4 * block - position) * 4;  // the block's first element, counted in the sample
    const long long at = sample * size + begin;          // and in the array
    if (aligned && begin >= 0 && begin + 16 <= size && at % V == 0) {
#pragma unroll
      for (int part = 0; part < 16; part += V) {
        Pack<T, V> kept, a;
        if (x) a = load<V>(x + at + part);
#pragma unroll
        for (int j = 0; j < V; ++j) {
          kept.at[j] = kept_or_not<T>(words, (part + j) / 4, part + j, keep_below, scale);
          if (x) a.at[j] = narrow<T>(widen(a.at[j]) * widen(kept.at[j]));
        }
        store(mask + at + part, kept);
        if (x) store(y + at + part, a);
      }
    } else {
      for (int element = 0; element < 16; ++element) {
        if (begin + element < 0 || begin + element >= size) continue;
        const T kept = kept_or_not<T>(words, element / 4, element, keep_below, scale);
        mask[at + element] = kept;
        if (x) y[at + element] = narrow<T>(widen(x[at + element]) * widen(kept));
      }
    }
  }
}
