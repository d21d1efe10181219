// Enough of CUDA to run a kernel on a CPU: blocks one after the other, the threads of a block as fibers that take turns
// at barriers. Included before a kernel's source; tests/support/cuda_on_cpu.py does the rest.
//
// The order in which threads take their turns can be changed (`set_order`). A result that depends on it is a race.

#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static
#define SHARED_MEMORY(type, name) type* name = reinterpret_cast<type*>(emulator::dynamic_shared)
#define OWN_TENSOR_CORES

using std::exp, std::log, std::sqrt, std::tanh;

struct Index {
  unsigned x = 0, y = 0, z = 0;
};
static Index threadIdx, blockIdx, blockDim, gridDim;

namespace emulator {

constexpr int MOST_THREADS = 1024, STACK = 64 * 1024, SHARED = 256 * 1024, MARGIN = 16 * 1024;
enum State { READY, AT_WARP, AT_BLOCK, DONE };

alignas(16) static unsigned char dynamic_shared[SHARED + MARGIN];
static unsigned char exchanged[2][MOST_THREADS][16];
static int turn[MOST_THREADS];
static State state[MOST_THREADS];
static bool started[MOST_THREADS];
static ucontext_t entry[MOST_THREADS];
static jmp_buf place[MOST_THREADS], scheduler;
static char* stacks;
static int current, threads, order = 0;
static void (*body)(void**);
static void** arguments;

inline void wait(State reason) {
  state[current] = reason;
  const int self = current;
  if (!_setjmp(place[self])) _longjmp(scheduler, 1);
}

inline void begin() {
  body(arguments);
  state[current] = DONE;
  _longjmp(scheduler, 1);
}

inline void resume(int thread) {
  current = thread;
  threadIdx.x = thread;
  if (_setjmp(scheduler)) return;
  if (started[thread]) _longjmp(place[thread], 1);
  started[thread] = true;
  setcontext(&entry[thread]);
}

// Run one block. False if its threads wait for each other forever.
inline bool run_block() {
  for (int i = 0; i < threads; ++i) {
    getcontext(&entry[i]);
    entry[i].uc_stack.ss_sp = stacks + (size_t)i * STACK;
    entry[i].uc_stack.ss_size = STACK;
    entry[i].uc_link = nullptr;
    makecontext(&entry[i], begin, 0);
    state[i] = READY, started[i] = false, turn[i] = 0;
  }
  unsigned random = 12345;
  for (;;) {
    bool moved = false, alive = false;
    const int offset = order == 2 ? (random = random * 1664525u + 1013904223u) % threads : 0;
    for (int i = 0; i < threads; ++i) {
      const int thread = order == 1 ? threads - 1 - i : (i * (order == 2 ? 1 : 1) + offset) % threads;
      if (state[thread] == READY) resume(thread), moved = true;
    }
    for (int warp = 0; warp < threads; warp += 32) {
      bool all = true, some = false;
      for (int i = warp; i < warp + 32 && i < threads; ++i)
        if (state[i] != DONE) some = true, all = all && state[i] == AT_WARP;
      if (some && all)
        for (int i = warp; i < warp + 32 && i < threads; ++i)
          if (state[i] == AT_WARP) state[i] = READY, moved = true;
    }
    bool all = true;
    for (int i = 0; i < threads; ++i)
      if (state[i] != DONE) alive = true, all = all && state[i] == AT_BLOCK;
    if (!alive) return true;
    if (all)
      for (int i = 0; i < threads; ++i)
        if (state[i] == AT_BLOCK) state[i] = READY, moved = true;
    if (!moved) return false;
  }
}

// Show every lane of the warp what this one brings; returns the warp's slots.
template <typename E> inline const unsigned char (*exchange(const E& mine))[16] {
  static_assert(sizeof(E) <= 16);
  auto& slots = exchanged[turn[current]++ % 2];
  memcpy(slots[current], &mine, sizeof(E));
  wait(AT_WARP);
  return slots + current / 32 * 32;
}

template <typename E> inline E slot(const unsigned char (*slots)[16], int lane) {
  E value;
  memcpy(&value, slots[lane], sizeof(E));
  return value;
}

template <typename P> constexpr char code() {
  using E = std::remove_cv_t<std::remove_pointer_t<P>>;
  if (std::is_same_v<E, float>) return 'f';
  if (std::is_same_v<E, double>) return 'd';
  if (std::is_same_v<E, int>) return 'i';
  if (std::is_same_v<E, long long>) return 'q';
  if (std::is_same_v<E, unsigned long long>) return 'Q';
  return sizeof(E) == 2 ? 'b' : '?';
}

template <auto kernel> struct Kernel;
template <typename... P, void (*kernel)(P...)> struct Kernel<kernel> {
  template <size_t... I> static void unpack(void** args, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_cv_t<P>*>(args[I])...);
  }
  static void call(void** args) { unpack(args, std::index_sequence_for<P...>()); }
  // Two letters an argument: pointer or value, and what to or of.
  static const char* signature() {
    static const char letters[] = {(std::is_pointer_v<P> ? 'p' : 'v')..., code<P>()..., 0};
    return letters;
  }
};

struct Entry {
  const char* name;
  void (*call)(void**);
  const char* (*signature)();
};

}  // namespace emulator

inline void __syncthreads() { emulator::wait(emulator::AT_BLOCK); }

template <typename E> inline E __shfl_xor_sync(unsigned, E value, int mask) {
  return emulator::slot<E>(emulator::exchange(value), (emulator::current % 32) ^ mask);
}

template <typename E> inline E atomicAdd(E* at, E value) {
  const E old = *at;
  *at += value;
  return old;
}

inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)((unsigned __int128)a * b >> 64);
}
inline float __fdividef(float a, float b) { return a / b; }
inline float __uint_as_float(unsigned bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}
inline unsigned __float_as_uint(float value) {
  unsigned bits;
  memcpy(&bits, &value, 4);
  return bits;
}

// mma.m16n8k16 of bfloat16, as the PTX manual lays its tiles out over the lanes of a warp.
inline void mma_bfloat16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  struct Left { unsigned of[4]; };
  struct Right { unsigned of[2]; };
  Left left_mine;
  Right right_mine;
  memcpy(left_mine.of, a, 16), memcpy(right_mine.of, b, 8);
  float left[16][16], right[16][8];
  auto part = [](unsigned pair, int half) { return __uint_as_float(half ? pair & 0xffff0000u : pair << 16); };
  auto slots = emulator::exchange(left_mine);
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 8; ++i)
      left[lane / 4 + (i / 2 % 2) * 8][lane % 4 * 2 + i % 2 + i / 4 * 8] = part(emulator::slot<Left>(slots, lane).of[i / 2], i % 2);
  slots = emulator::exchange(right_mine);
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i)
      right[lane % 4 * 2 + i % 2 + i / 2 * 8][lane / 4] = part(emulator::slot<Right>(slots, lane).of[i / 2], i % 2);
  const int lane = emulator::current % 32;
  for (int i = 0; i < 4; ++i)
    for (int k = 0; k < 16; ++k) c[i] += left[lane / 4 + i / 2 * 8][k] * right[k][lane % 4 * 2 + i % 2];
}

// mma.m16n8k8 of TF32, which does not read the last 13 bits of what it multiplies.
inline void mma_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  struct Left { unsigned of[4]; };
  struct Right { unsigned of[2]; };
  Left left_mine;
  Right right_mine;
  memcpy(left_mine.of, a, 16), memcpy(right_mine.of, b, 8);
  float left[16][8], right[8][8];
  auto read = [](unsigned bits) { return __uint_as_float(bits & 0xffffe000u); };
  auto slots = emulator::exchange(left_mine);
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i)
      left[lane / 4 + i % 2 * 8][lane % 4 + i / 2 * 4] = read(emulator::slot<Left>(slots, lane).of[i]);
  slots = emulator::exchange(right_mine);
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 2; ++i) right[lane % 4 + i * 4][lane / 4] = read(emulator::slot<Right>(slots, lane).of[i]);
  const int lane = emulator::current % 32;
  for (int i = 0; i < 4; ++i)
    for (int k = 0; k < 8; ++k) c[i] += left[lane / 4 + i / 2 * 8][k] * right[k][lane % 4 * 2 + i % 2];
}

// cvt.rna.tf32.f32
inline unsigned to_tf32(float x) { return (__float_as_uint(x) + 0x1000u) & 0xffffe000u; }

// ldmatrix.x2.trans
template <typename E> inline void load_transposed(unsigned (&b)[2], const E* row) {
  auto slots = emulator::exchange(row);
  const int lane = emulator::current % 32;
  for (int tile = 0; tile < 2; ++tile) {
    const E* low = emulator::slot<const E*>(slots, tile * 8 + lane % 4 * 2);
    const E* high = emulator::slot<const E*>(slots, tile * 8 + lane % 4 * 2 + 1);
    b[tile] = low[lane / 4].bits | (unsigned)high[lane / 4].bits << 16;
  }
}
