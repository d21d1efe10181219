// Dropout: the masks of nanograd/noise.py, bit for bit. One thread computes one block of four words, 16 elements.

// mask = 0 or scale; y = x mask, where there is an x. `size` elements a sample, `blocks` of random words for each.
template <typename T>
__global__ void drop(const T* x, T* mask, T* y, long long samples, long long size, long long blocks,
                     unsigned long long seed, unsigned long long step, long long first, long long position,
                     long long keep_below, double scale) {
  for (long long i = first_element<1>(); i < samples * blocks; i += all_elements<1>()) {
    const long long sample = i / blocks, block = position / 4 + i % blocks;
    const Words words = philox(1 + block, first + sample, seed, step);
    for (long long word = 4 * block; word < 4 * block + 4; ++word)
      for (int part = 0; part < 4; ++part) {
        const long long element = (word - position) * 4 + part;
        if (element < 0 || element >= size) continue;
        const wide<T> kept = bits_of(words, word, part) < keep_below ? (wide<T>)scale : (wide<T>)0;
        const long long at = sample * size + element;
        mask[at] = narrow<T>(kept);
        if (x) y[at] = narrow<T>(widen(x[at]) * widen(mask[at]));
      }
  }
}
