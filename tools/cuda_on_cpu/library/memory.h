// The GPU's memory: host memory that begins as NaN, between guard bytes or pages that may not be touched.

enum Kind { DEVICE, PINNED, MANAGED, REGISTERED };
struct Block {
  char* raw;        // what was mapped or allocated
  size_t raw_size;  // of it
  size_t size;      // that was asked for
  Kind kind;
  int device;
};
static std::map<uintptr_t, Block> blocks;  // live ones, by their first byte
static size_t used = 0, peak = 0, allocations = 0;
static const size_t GUARD = 256, ALIGN = 256;
static const unsigned char GUARD_BYTE = 0xa5;

static Block* block_of(const void* pointer) {
  auto found = blocks.upper_bound((uintptr_t)pointer);
  if (found == blocks.begin()) return nullptr;
  --found;
  // one past the end counts too, for ranges of no bytes
  return (uintptr_t)pointer <= found->first + found->second.size ? &found->second : nullptr;
}

// The block of kind DEVICE or MANAGED that holds all of [pointer, pointer + size), or null after saying what is wrong.
static Block* inside(const void* pointer, size_t size, const char* who, const char* role) {
  auto found = blocks.upper_bound((uintptr_t)pointer);
  if (found != blocks.begin()) {
    --found;
    uintptr_t first = found->first, end = first + found->second.size, p = (uintptr_t)pointer;
    if (p >= first && p + size <= end && found->second.kind != REGISTERED) {
      if (found->second.kind == PINNED) {
        say("%s: %s is pinned host memory, not the GPU's", who, role);
        return nullptr;
      }
      return &found->second;
    }
    if (p >= first && p < end) {
      say("%s: %s, %zu bytes at offset %zu, reaches beyond its allocation of %zu bytes", who, role, size,
          (size_t)(p - first), found->second.size);
      return nullptr;
    }
  }
  say("%s: %s %p is not in the GPU's memory", who, role, pointer);
  return nullptr;
}

static bool on_device(const void* pointer) {
  auto found = blocks.upper_bound((uintptr_t)pointer);
  if (found == blocks.begin()) return false;
  --found;
  return (uintptr_t)pointer < found->first + std::max<size_t>(found->second.size, 1) &&
         (found->second.kind == DEVICE || found->second.kind == MANAGED);
}

static bool guards_hold(uintptr_t first, const Block& block) {
  if (block.kind == REGISTERED) return true;
  const unsigned char* bytes = (const unsigned char*)first;
  size_t after = FENCE ? (ALIGN - block.size % ALIGN) % ALIGN : GUARD + (ALIGN - block.size % ALIGN) % ALIGN;
  size_t before = FENCE ? 0 : GUARD;
  for (size_t i = 0; i < before; i++)
    if (bytes[-1 - (ptrdiff_t)i] != GUARD_BYTE) {
      say("memory before an allocation of %zu bytes was overwritten, %zu bytes before its start", block.size, i + 1);
      return false;
    }
  for (size_t i = 0; i < after; i++)
    if (bytes[block.size + i] != GUARD_BYTE) {
      say("memory behind an allocation of %zu bytes was overwritten, at byte %zu", block.size, block.size + i);
      return false;
    }
  return true;
}

static void at_exit();
static cudaError_t allocate(void** out, size_t size, Kind kind) {
  static bool registered = (atexit(at_exit), true);
  (void)registered;
  *out = nullptr;
  if (!size) return cudaSuccess;
  if (kind != PINNED && (size > TOTAL || used + size > TOTAL)) {
    TELL("out of memory: %zu bytes wanted, %zu of %zu used", size, used, TOTAL);
    return cudaErrorMemoryAllocation;
  }
  size_t rounded = (size + ALIGN - 1) / ALIGN * ALIGN;
  Block block{nullptr, 0, size, kind, current_device};
  char* first;
  if (FENCE) {  // pages that end at the end of the allocation, and one at either side that faults
    size_t page = 4096, pages = (rounded + page - 1) / page * page;
    block.raw_size = pages + 2 * page;
    block.raw = (char*)mmap(nullptr, block.raw_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block.raw == MAP_FAILED) return cudaErrorMemoryAllocation;
    mprotect(block.raw, page, PROT_NONE);
    mprotect(block.raw + page + pages, page, PROT_NONE);
    first = block.raw + page + pages - rounded;
    memset(first + size, GUARD_BYTE, rounded - size);
  } else {
    block.raw_size = rounded + 2 * GUARD;
    block.raw = (char*)aligned_alloc(ALIGN, block.raw_size);
    if (!block.raw) return cudaErrorMemoryAllocation;
    first = block.raw + GUARD;
    memset(block.raw, GUARD_BYTE, GUARD);
    memset(first + size, GUARD_BYTE, rounded - size + GUARD);
  }
  if (!DRY) memset(first, 0xff, size);  // NaN in every floating type
  blocks[(uintptr_t)first] = block;
  if (kind != PINNED) used += size, peak = std::max(peak, used), allocations++;
  *out = first;
  return cudaSuccess;
}

static cudaError_t release(void* pointer, bool host) {
  if (!pointer) return cudaSuccess;
  auto found = blocks.find((uintptr_t)pointer);
  if (found == blocks.end() || (found->second.kind == PINNED) != host || found->second.kind == REGISTERED) {
    say("%s: %p is not the start of an allocation of this kind", host ? "cudaFreeHost" : "cudaFree", pointer);
    return cudaErrorInvalidValue;
  }
  Block block = found->second;
  guards_hold(found->first, block);
  if (!DRY) memset(pointer, 0xff, block.size);
  if (FENCE) munmap(block.raw, block.raw_size);
  else free(block.raw);
  if (!host) used -= block.size;
  blocks.erase(found);
  return cudaSuccess;
}
