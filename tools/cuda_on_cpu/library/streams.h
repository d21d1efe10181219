// Streams and events: work that is done at once, or, with FAKE_CUDA_LAZY, as late as CUDA's rules allow.

struct Item {
  long number;
  std::function<void()> run;
};
struct CUstream_st {
  unsigned flags = 0;
  int priority = 0;
  std::deque<Item> queue;
  bool blocking() const { return !(flags & cudaStreamNonBlocking); }
};
struct Record {
  CUstream_st* stream;
  long number;
  bool done = false;
  double time = 0;
};
struct CUevent_st {
  unsigned flags = 0;
  std::shared_ptr<Record> record;
};
static CUstream_st legacy, per_thread;
static std::set<CUstream_st*> streams, gone;  // gone: destroyed while there was work left, which is still to be done
static std::set<CUevent_st*> events;
static long numbers = 0;

static CUstream_st* stream_of(cudaStream_t handle) {
  if (!handle || handle == (cudaStream_t)1) return &legacy;
  if (handle == (cudaStream_t)2) return &per_thread;
  if (!streams.count(handle)) {
    say("stream %p does not exist", (void*)handle);
    return nullptr;
  }
  return handle;
}

static std::vector<CUstream_st*> others() {
  std::vector<CUstream_st*> all(streams.begin(), streams.end());
  all.insert(all.end(), gone.begin(), gone.end());
  return all;
}

// Run a stream's work up to a number. The legacy stream and all blocking ones wait for each other's earlier work.
static void run_until(CUstream_st* stream, long number) {
  while (!stream->queue.empty() && stream->queue.front().number <= number) {
    Item item = std::move(stream->queue.front());
    stream->queue.pop_front();
    if (stream == &legacy) {
      run_until(&per_thread, item.number);
      for (CUstream_st* other : others())
        if (other->blocking()) run_until(other, item.number);
    } else if (stream->blocking()) {
      run_until(&legacy, item.number);
    }
    if (!sticky) item.run();
  }
}
static void drain(CUstream_st* stream) {
  if (stream == &legacy) {
    run_until(&per_thread, numbers);
    for (CUstream_st* other : others())
      if (other->blocking()) run_until(other, numbers);
  }
  run_until(stream, numbers);
  if (stream != &legacy && stream->blocking()) run_until(&legacy, numbers);
}
static void drain_all() {
  run_until(&legacy, numbers);
  run_until(&per_thread, numbers);
  for (CUstream_st* stream : others()) run_until(stream, numbers);
}
static long enqueue(CUstream_st* stream, std::function<void()> run) {
  long number = ++numbers;
  if (LAZY) stream->queue.push_back({number, std::move(run)});
  else run();
  return number;
}
static bool idle(CUstream_st* stream) { return stream->queue.empty(); }

static void at_exit() {
  std::lock_guard<std::recursive_mutex> guard(lock);
  for (auto& [first, block] : blocks) guards_hold(first, block);
}
