// Philox4x64-10 (Salmon et al. 2011), the generator behind nanograd/device/rng.py: each sample of the batch has a
// stream of 64-bit words, with (seed, step) as its key and the sample in the top word of the counter. Word w of a
// stream is in the block with the counter 1 + w / 4, as NumPy counts up before it draws.

struct Words {
  unsigned long long at[4];
};

__device__ __forceinline__ Words philox(unsigned long long block, unsigned long long sample, unsigned long long seed,
                                        unsigned long long step) {
  unsigned long long c0 = block, c1 = 0, c2 = 0, c3 = sample;
  for (int round = 0; round < 10; ++round) {
    const unsigned long long high0 = __umul64hi(0xD2E7470EE14C6C93ull, c0), low0 = 0xD2E7470EE14C6C93ull * c0;
    const unsigned long long high1 = __umul64hi(0xCA5A826395121157ull, c2), low1 = 0xCA5A826395121157ull * c2;
    c0 = high1 ^ c1 ^ seed;
    c1 = low1;
    c2 = high0 ^ c3 ^ step;
    c3 = low0;
    seed += 0x9E3779B97F4A7C15ull;
    step += 0xBB67AE8584CAA73Bull;
  }
  return {{c0, c1, c2, c3}};
}

// The 16 bits that decide element i of a mask whose words begin at `position` of the stream.
__device__ __forceinline__ unsigned bits_of(const Words& words, long long word, long long i) {
  const int place = (int)(word % 4);  // chosen, not indexed, so that the words stay in registers
  const unsigned long long two = place & 1 ? words.at[1] : words.at[0], other = place & 1 ? words.at[3] : words.at[2];
  return (unsigned)((place & 2 ? other : two) >> (16 * (i % 4))) & 0xffffu;
}
