// Counting. With COUNTS a launch counts what it does: bytes asked of global memory, bytes of the 32-byte sectors that
// it touches at least once (what memory has to move where the caches hold the rest), operations of floats, and how
// often a warp's access to shared memory takes a turn of its own.

struct Counts {
  u64 read, written, sectors_read, sectors_written;  // bytes of global memory
  u64 flops, tensor_flops;
  u64 shared_turns, shared_least;  // turns that the banks of shared memory took, and those without conflicts
};
static Counts counts;
#ifndef COUNTS
constexpr bool COUNTING = false;
IN void flops(u32) {}
IN void tensor_flops(u32) {}
IN void count_rows(Thread*, int) {}
IN void begin_counting() {}
IN void count_block() {}
#else
#include <algorithm>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <vector>

constexpr bool COUNTING = true;
static std::unordered_set<u64> sectors[2];  // that this launch has read and written
struct Shared {
  u32 line, turn, lane, address, bytes;  // turn: the how manyth access of its line by its thread
};
static std::vector<Shared> accesses[MOST_THREADS / 32];  // of a warp, in this block
static std::unordered_map<u32, u32> turns[MOST_THREADS];

IN void flops(u32 n) { counts.flops += n; }
IN void tensor_flops(u32 n) { counts.tensor_flops += n; }

static void count(const Thread* t, u64 address, int bytes, Access access, u32 line) {
  if (is_local(address) || is_param(address)) return;
  if (is_shared(address)) {
    accesses[t->number / 32].push_back(
        {line, turns[t->number][line]++, t->lane, (u32)(address - (u64)shared), (u32)bytes});
    return;
  }
  if (access != WRITE) {
    counts.read += bytes;
    if (sectors[0].insert(address / 32).second) counts.sectors_read += 32;
  }
  if (access != READ) {
    counts.written += bytes;
    if (sectors[1].insert(address / 32).second) counts.sectors_written += 32;
  }
}
// The eight rows of 16 bytes of a tile that ldmatrix or stmatrix moves.
static void count_rows(Thread* warp, int tile) {
  u32 words[32], n = 0;
  for (int row = 0; row < 8; ++row)
    for (u32 i = 0; i < 4; ++i) words[n++] = warp[tile * 8 + row].in[0] / 4 + i;
  u32 most = 0;
  for (u32 bank = 0; bank < 32; ++bank) {
    u32 found = 0;
    for (u32 i = 0; i < n; ++i) found += words[i] % 32 == bank && std::find(words, words + i, words[i]) == words + i;
    most = std::max(most, found);
  }
  counts.shared_turns += most, counts.shared_least += 1;
}
// Lanes of a warp that come to a line for the same time do so together. Words of 8 and 16 bytes go by halves and
// quarters of the warp; two lanes may read the same word, two words of one bank take two turns.
static void count_block() {
  for (u32 warp = 0; warp * 32 < thread_count; ++warp) {
    auto& all = accesses[warp];
    auto order = [](const Shared& a) {
      return std::make_tuple(a.line, a.turn, a.bytes > 4 ? a.lane * a.bytes / 128 : 0);
    };
    std::stable_sort(all.begin(), all.end(), [&](const Shared& a, const Shared& b) { return order(a) < order(b); });
    for (size_t first = 0, last; first < all.size(); first = last) {
      std::vector<u32> words[32];
      for (last = first; last < all.size() && order(all[last]) == order(all[first]); ++last)
        for (u32 i = 0; i < (all[last].bytes + 3) / 4; ++i) {
          const u32 word = all[last].address / 4 + i;
          auto& bank = words[word % 32];
          if (std::find(bank.begin(), bank.end(), word) == bank.end()) bank.push_back(word);
        }
      size_t most = 0;
      for (auto& bank : words) most = std::max(most, bank.size());
      counts.shared_turns += most, counts.shared_least += 1;
    }
    all.clear();
  }
  for (u32 i = 0; i < thread_count; ++i) turns[i].clear();
}
IN void begin_counting() { sectors[0].clear(), sectors[1].clear(); }
#endif
