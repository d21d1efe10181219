#define K(name, expression)                                               \
  extern "C" __global__ void name(const int* a, const int* b, int* out) { \
    int i = threadIdx.x, x = a[i], y = b[i];                              \
    out[i] = expression;                                                  \
  }
K(up, __shfl_up_sync(~0u, x, 3))
K(down, __shfl_down_sync(~0u, x, 5, 8)) K(xored, __shfl_xor_sync(~0u, x, 9, 16)) K(from, __shfl_sync(~0u, x, y))
    K(from4, __shfl_sync(~0u, x, y, 4)) K(all, __all_sync(~0u, x > 5)) K(any, __any_sync(~0u, x > 95))
        K(ballot, __ballot_sync(~0u, x > 50)) K(match, __match_any_sync(~0u, x % 3)) K(redux, __reduce_add_sync(~0u, x))
            K(reduxmin, __reduce_min_sync(~0u, x - 50)) K(reduxmax, __reduce_max_sync(~0u, (unsigned)(x - 50)))
                K(reduxor, __reduce_or_sync(~0u, x))
                    K(halves, threadIdx.x % 32 < 16 ? __shfl_sync(0xffffu, x, 3) : __shfl_sync(0xffff0000u, x, 20))
                        K(odd, threadIdx.x % 2 ? __ballot_sync(0xaaaaaaaau, x > 50) : -7)
                            K(lanes, threadIdx.x % 32 + 100 * (threadIdx.x / 32)) extern "C" __global__
    void longs(const long long* a, long long* out) {
  out[threadIdx.x] = __shfl_xor_sync(~0u, a[threadIdx.x], 1);
}
extern "C" __global__ void matchall(const int* a, int* out) {
  int same;
  unsigned m = __match_all_sync(~0u, a[threadIdx.x / 32], &same);
  out[threadIdx.x] = m == ~0u && same;
  m = __match_all_sync(~0u, threadIdx.x, &same);
  out[threadIdx.x] += 2 * (m == 0 && !same);
}
extern "C" __global__ void gone(const int* a, int* out) {
  if (threadIdx.x % 32 == 7) return;
  out[threadIdx.x] = __ballot_sync(~0u, 1);
}
extern "C" __global__ void predicate(int* out) {
  int p;
  asm volatile("{ .reg .pred q; shfl.sync.down.b32 %0|q, %1, 4, 31, 0xffffffff; selp.b32 %0, 1, 0, q; }"
               : "=r"(p)
               : "r"(threadIdx.x));
  out[threadIdx.x] = p;
}
extern "C" __global__ void outsider(int* out) { out[threadIdx.x] = __shfl_sync(0xfu, threadIdx.x, 0); }
