// What was done: launches and seconds of each kernel, and with FAKE_CUDA_COUNTS=1 also bytes, operations and turns of
// shared memory. FAKE_CUDA_STATS=1 shows the first two at the end; a program asks for all by fake_cuda_counts.

struct Tally {
  long launches = 0;
  double seconds = 0;
  unsigned threads = 0, shared = 0;  // of the largest block
  unsigned long long counts[8] = {};  // as runtime/counts.h has them
};
static std::map<std::string, Tally> tally;

static void count_bytes(const char* what, size_t read, size_t written, size_t flops = 0, bool tensor = false) {
  Tally& t = tally[what];
  t.launches++;
  t.counts[0] += read, t.counts[1] += written, t.counts[2] += read, t.counts[3] += written;
  t.counts[tensor ? 5 : 4] += flops;
}

static void count_copy(const void* to, const void* from, size_t size) {  // only what is the GPU's memory
  bool of_device = on_device(from), to_device = on_device(to);
  count_bytes(of_device ? to_device ? "copy on the device" : "copy to the host" : "copy to the device",
              of_device ? size : 0, to_device ? size : 0);
}

static void report_tally() {
  if (!STATS) return;
  say("%zu allocations, at most %.1f MB of the GPU's memory at once", allocations, peak / 1e6);
  for (auto& [name, t] : tally) say("%8ld launches %9.3f s  %s", t.launches, t.seconds, name.c_str());
}

// Write what was done since the last call to a file, a line of JSON a kernel, and begin anew. False where that fails.
extern "C" bool fake_cuda_counts(const char* path) {
  std::lock_guard<std::recursive_mutex> guard(lock);
  drain_all();
  std::ofstream file(path);
  for (auto& [name, t] : tally) {
    int status;
    char* plain = abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status);
    file << "{\"name\": \"" << (plain ? plain : name.c_str()) << "\", \"launches\": " << t.launches;
    file << ", \"threads\": " << t.threads << ", \"shared\": " << t.shared;
    const char* keys[] = {"read",  "written",      "sectors_read", "sectors_written",
                          "flops", "tensor_flops", "shared_turns", "shared_least"};
    for (int i = 0; i < 8; i++) file << ", \"" << keys[i] << "\": " << t.counts[i];
    file << "}\n";
    free(plain);
  }
  tally.clear();
  return bool(file.flush());
}
