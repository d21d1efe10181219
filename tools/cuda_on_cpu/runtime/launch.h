// The kernels of a library: found by name and launched.

struct Parameter {
  u32 offset, bytes;
};
struct Entry {
  const char* name;
  void (*run)(const u8*);
  u32 (*layout)();  // puts its shared variables into places; the bytes they take
  const Parameter* parameters;
  u32 parameter_count, parameter_bytes, most_threads;
  bool fibers;
};
struct Variable {
  const char* name;
  void* address;
  u64 bytes;
};
extern const Entry entries[];
extern const Variable variables[];
extern const u32 entry_count, variable_count;

static const Entry* find(const char* name) {
  for (u32 i = 0; i < entry_count; ++i)
    if (!strcmp(entries[i].name, name)) return entries + i;
  return nullptr;
}
static int refuse(const char* format, ...) {
  va_list list;
  va_start(list, format);
  vsnprintf(message, sizeof message, format, list);
  va_end(list);
  return 1;
}
// An address that the process does not have is the kernel's failure, not the end of the process.
static void on_signal(int, siginfo_t* what, void*) { fault("illegal address %p", what->si_addr); }

static int launch(const Entry* entry, const u32* grid, const u32* block, u32 dynamic, void** arguments) {
  const u64 count = (u64)block[0] * block[1] * block[2];
  if (!count || count > MOST_THREADS || count > entry->most_threads || block[2] > 64)
    return refuse("%s: a GPU refuses blocks of (%u, %u, %u)", entry->name, block[0], block[1], block[2]);
  if (!grid[0] || !grid[1] || !grid[2] || grid[0] > 0x7fffffffu || grid[1] > 65535 || grid[2] > 65535)
    return refuse("%s: a GPU refuses a grid of (%u, %u, %u)", entry->name, grid[0], grid[1], grid[2]);
  static_bytes = entry->layout(), dynamic_bytes = dynamic;
  if ((u64)static_bytes + dynamic > MOST_SHARED)
    return refuse("%s: %u + %u bytes of shared memory are too many", entry->name, static_bytes, dynamic);
  shared_bytes = static_bytes + dynamic;
  for (u32 i = 0; i < entry->parameter_count; ++i)
    memcpy(parameters + entry->parameters[i].offset, arguments[i], entry->parameters[i].bytes);
  for (int i = 0; i < 3; ++i) ntid[i] = block[i], nctaid[i] = grid[i];
  if (!ptx_stacks) {
    void* got = mmap(nullptr, (size_t)MOST_THREADS * STACK, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (got == MAP_FAILED) return refuse("no memory for the stacks");
    ptx_stacks = (char*)got;
  }
  const char* asked = getenv("FAKE_CUDA_ORDER");
  order = asked ? *asked - '0' : 0, random_state = 12345;
  counts = {}, begin_counting();
  kernel = entry->run, thread_count = count, failed = false, time_of_launch = time_now + 1;
  take_places();
  for (u32 i = 0; i < count; ++i)
    threads[i].x = i % block[0], threads[i].y = i / block[0] % block[1], threads[i].z = i / block[0] / block[1],
    threads[i].lane = i % 32, threads[i].number = i;
  me = threads;
  struct sigaction ours = {}, theirs[2];
  ours.sa_sigaction = on_signal, ours.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGSEGV, &ours, theirs), sigaction(SIGBUS, &ours, theirs + 1);
  if (entry->fibers) {
    each_block([] {
      run_fibers();
      if (!failed && shared_bytes && !clean_shared())
        failed = refuse("block (%u, %u, %u): a write beside the %u bytes of shared memory", ctaid[0], ctaid[1],
                        ctaid[2], shared_bytes);
    });
  } else {
    set_stack(threads[0], 0, run_loops);
    ptx_switch(&scheduler, threads[0].stack);
  }
  sigaction(SIGSEGV, theirs, nullptr), sigaction(SIGBUS, theirs + 1, nullptr);
  if (!failed) return 0;
  char held[sizeof message];
  memcpy(held, message, sizeof held);
  snprintf(message, sizeof message, "%.200s: %.390s", entry->name, held);
  return 2;
}

#define EXPORT extern "C" __attribute__((visibility("default")))
EXPORT int ptx_has(const char* name) { return find(name) != nullptr; }
EXPORT const char* ptx_error() { return message; }
EXPORT int ptx_launch(const char* name, u32 gx, u32 gy, u32 gz, u32 bx, u32 by, u32 bz, u32 dynamic, void** arguments) {
  const Entry* entry = find(name);
  if (!entry) return refuse("there is no kernel %s", name);
  while (__atomic_exchange_n(&ptx_lock, 1, __ATOMIC_ACQUIRE)) sched_yield();
  const u32 grid[3] = {gx, gy, gz}, block[3] = {bx, by, bz};
  const int code = launch(entry, grid, block, dynamic, arguments);
  __atomic_store_n(&ptx_lock, 0, __ATOMIC_RELEASE);
  return code;
}
// What the last launch did; see counts.h. False where the library does not count.
EXPORT bool ptx_counts(u64 (&out)[sizeof(Counts) / sizeof(u64)]) {
  memcpy(out, &counts, sizeof counts);
  return COUNTING;
}
EXPORT void* ptx_global(const char* name, u64* bytes) {
  for (u32 i = 0; i < variable_count; ++i)
    if (!strcmp(variables[i].name, name)) {
      if (bytes) *bytes = variables[i].bytes;
      return variables[i].address;
    }
  return nullptr;
}
EXPORT int ptx_attribute(const char* name, int what) {
  const Entry* entry = find(name);
  if (!entry) return -1;
  return what == 0 ? entry->layout() : what == 1 ? entry->most_threads : what == 2 ? entry->parameter_bytes : -1;
}

// Functions that modules may call and do not have.

IN void x_vprintf(u8* result, u8*, u8*) { at<s32>((u64)result) = 0; }
IN void x_malloc(u8* result, u8* bytes) { at<void*>((u64)result) = malloc(at<u64>((u64)bytes)); }
IN void x_free(u8* pointer) { free(at<void*>((u64)pointer)); }
IN void x___assertfail(u8* text, u8* file, u8* line, u8* function, u8*) {
  fault("assertion `%.200s` failed (%.100s:%d, %.80s)", at<char*>((u64)text), at<char*>((u64)file), at<s32>((u64)line),
        at<char*>((u64)function));
}
static u64 nanoseconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (u64)now.tv_sec * 1000000000ull + now.tv_nsec;
}
