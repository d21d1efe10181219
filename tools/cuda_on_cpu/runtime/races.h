// Races. With RACES every access to shared and global memory is kept, and two of the same byte, of which one writes, by
// threads that no barrier has put in order, are a failure. Threads of different blocks are never in order. A time is
// the number of barriers since the library was loaded; each block begins a new time.

static u32 time_now = 1, time_of_launch, time_of_block, warp_time[MOST_THREADS / 32];
#ifdef RACES
struct Past {
  u32 time, warp_time;
  u16 thread;
  bool several, of_several_warps, atomic;  // threads since `time`
};
struct Byte {
  Past written, read;
  u32 first_read;  // in this launch
};
struct Page {
  u64 number;
  Byte* bytes;
};
constexpr u32 MOST_PAGES = 1 << 16;
static Page pages[MOST_PAGES];

static Byte* bytes_of_page(u64 number) {
  static Page* last;
  if (last && last->number == number) return last->bytes;
  for (u32 i = number * 2654435761u % MOST_PAGES;; i = (i + 1) % MOST_PAGES) {
    if (!pages[i].bytes) {
      void* got = mmap(nullptr, 4096 * sizeof(Byte), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      pages[i] = {number, (Byte*)got};
    }
    if (pages[i].number == number) return (last = pages + i)->bytes;
  }
}
// Has nothing put `past` before what t does now?
IN bool unordered(const Past& past, const Thread* t, u32 since) {
  if (past.time < since) return false;
  if (past.time < time_of_block) return true;
  if (past.time < time_now || (past.thread == t->number && !past.several)) return false;
  return past.of_several_warps || past.thread / 32 != t->number / 32 || past.warp_time == warp_time[t->number / 32];
}
static void note(const Thread* t, u64 address, int bytes, Access access) {
  if (is_local(address) || is_param(address)) return;
  const u32 since = is_shared(address) ? time_of_block : time_of_launch;
  for (u64 at = address; at < address + bytes; ++at) {
    Byte& byte = bytes_of_page(at >> 12)[at & 4095];
    const bool after_write = unordered(byte.written, t, since) && !(access == ATOMIC && byte.written.atomic);
    const bool after_read = access != READ && (unordered(byte.read, t, since) ||
                                               (byte.first_read >= since && byte.first_read < time_of_block));
    if (after_write || after_read)
      fault("race: %s %s %llu (byte %d of %d), which thread %u %s%s, with no barrier in between",
            access == READ    ? "it reads"
            : access == WRITE ? "it writes"
                              : "it updates",
            is_shared(address) ? "shared address" : "address", is_shared(address) ? address - (u64)shared : address,
            (int)(at - address), bytes, after_write ? byte.written.thread : byte.read.thread,
            after_write ? "has written" : "has read",
            (after_write ? byte.written.time : byte.read.time) < time_of_block ? " in another block" : "");
    Past& past = access == READ ? byte.read : byte.written;
    const u32 own_time = warp_time[t->number / 32];
    const bool joins = past.time == time_now && past.thread != t->number &&
                       (past.warp_time == own_time || past.thread / 32 != t->number / 32);
    if (access == READ && byte.first_read < since) byte.first_read = time_now;
    past = {time_now,
            own_time,
            (u16)t->number,
            joins,
            joins && (past.of_several_warps || past.thread / 32 != t->number / 32),
            access == ATOMIC};
  }
}
#endif
