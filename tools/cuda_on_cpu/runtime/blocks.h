// Barriers, and the blocks of a grid one after the other.

static void open_barrier(u32 id) {
  Barrier& b = barriers[id];
  ++time_now;
  for (u32 i = 0; i < thread_count; ++i) {
    Thread& t = threads[i];
    if (t.state != AT_BARRIER || t.barrier != id) continue;
#ifdef RACES
    for (Thread* other = &t - t.lane; other < &t; ++other)
      if (other->line != t.line && other->state != DONE && other->met == time_now)
        fault("lanes %u and %u of a warp are at different barriers, of lines %u and %u of the PTX", other->lane, t.lane,
              other->line, t.line);
    t.met = time_now;
#endif
    t.state = READY;
    t.out[0] = b.holding, t.out[1] = b.holding == b.arrived, t.out[2] = b.holding != 0;
  }
  b = {};
}
// bar.sync, bar.red and bar.arrive; `count` threads, or 0: all that have not ended. out: how many hold, do all, does
// any
__attribute__((noinline)) static void barrier(u32 id, u32 count, bool holds, bool waits, u32 line) {
  if (id > 15) fault("there is no barrier %u", id);
  if (count % 32) fault("a barrier for %u threads, not for whole warps", count);
  Barrier& b = barriers[id];
  ++b.arrived, b.holding += holds;
  if (waits) me->state = AT_BARRIER, me->barrier = id, me->line = line;
  me->mask = count;
  if (b.arrived >= (count ? count : alive)) open_barrier(id);
  else if (waits) yield_();
}
// A thread ends, which may be what others waited for.
static void end_thread() {
  me->state = DONE, --alive;
  for (u32 id = 0; id < 16; ++id)
    if (barriers[id].arrived && barriers[id].arrived >= alive)
      for (u32 i = 0; i < thread_count; ++i)
        if (threads[i].state == AT_BARRIER && threads[i].barrier == id && !threads[i].mask) {
          open_barrier(id);
          break;
        }
  Thread* warp = me - me->lane;
  for (u32 lane = 0; lane < 32 && warp + lane < threads + thread_count; ++lane)
    if (warp[lane].state == AT_WARP) complete(warp, warp[lane].mask, warp[lane].operation);
  yield_();
}

static int order;  // in which threads take their turns: 0 forward, 1 backward, 2 shuffled anew each time
static u32 random_state, places[MOST_THREADS];

static void take_places() {
  for (u32 i = 0; i < thread_count; ++i) places[i] = order == 1 ? thread_count - 1 - i : i;
  if (order != 2) return;
  for (u32 i = thread_count; i > 1; --i) {
    random_state = random_state * 1664525u + 1013904223u;
    const u32 k = (u64)random_state * i >> 32, held = places[i - 1];
    places[i - 1] = places[k], places[k] = held;
  }
}
static void begin_thread() {
  kernel(parameters);
  end_thread();
}
static void set_stack(Thread& t, u32 number, void (*start)()) {
  // at places that differ, lest all stacks share the same few lines of the cache
  void** top = (void**)(ptx_stacks + (size_t)(number + 1) * STACK - number * 5 % 64 * 64);
  *--top = nullptr;       // where `start` would return to; it does not, but this aligns the stack as after a call
  *--top = (void*)start;  // where ptx_switch returns to
  t.stack = top - 6;      // and the six registers that it takes off before
}
static bool clean_shared() {
  for (u32 i = 0; i < MARGIN; ++i)
    if (shared[shared_bytes + i] != 0xff) return false;
  return true;
}
static void check_shared() {
  if (shared_bytes && !clean_shared()) fault("a write beside the %u bytes of shared memory", shared_bytes);
}
static void describe_deadlock() {
  u32 warp = 0, block = 0, first = ~0u;
  for (u32 i = 0; i < thread_count; ++i) {
    if (threads[i].state == DONE) continue;
    if (first == ~0u) first = i;
    (threads[i].state == AT_WARP ? warp : block)++;
  }
  snprintf(
      message, sizeof message,
      "block (%u, %u, %u): deadlock; of %u threads %u wait at a barrier, %u for other lanes of their warp (thread %u "
      "with mask 0x%x), %u have ended",
      ctaid[0], ctaid[1], ctaid[2], thread_count, block, warp, first, threads[first].mask, thread_count - block - warp);
  failed = true;
}
// One block whose threads wait for each other, as fibers.
static void run_fibers() {
  for (u32 i = 0; i < thread_count; ++i) set_stack(threads[i], i, begin_thread), threads[i].state = READY;
  memset(barriers, 0, sizeof barriers);
  alive = thread_count;
  while (alive && !failed) {
    bool moved = false;
    if (order == 2) take_places();
    for (u32 i = 0; i < thread_count && !failed; ++i) {
      me = threads + places[i];
      if (me->state != READY) continue;
      moved = true;
      ptx_switch(&scheduler, me->stack);
    }
    if (!moved) return describe_deadlock();
  }
}
template <class Run>
IN void each_block(Run run) {
  for (ctaid[2] = 0; ctaid[2] < nctaid[2]; ++ctaid[2])
    for (ctaid[1] = 0; ctaid[1] < nctaid[1]; ++ctaid[1])
      for (ctaid[0] = 0; ctaid[0] < nctaid[0] && !failed; ++ctaid[0]) {
        if (shared_bytes) memset(shared, 0xff, shared_bytes + MARGIN);
        time_of_block = ++time_now;
        run();
        count_block();
      }
}
// All blocks of a kernel whose threads never wait: one stack for all, the threads one after the other.
static void run_loops() {
  each_block([] {
    if (order == 2) take_places();
    for (u32 i = 0; i < thread_count; ++i) {
      me = threads + places[i];
      kernel(parameters);
    }
    check_shared();
  });
  yield_();
}
