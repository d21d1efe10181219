#define K(name, type, ...)                                             \
  extern "C" __global__ void name(type* g, type* out, const type* v) { \
    __shared__ type s;                                                 \
    if (threadIdx.x == 0) s = 5;                                       \
    __syncthreads();                                                   \
    type x = v[threadIdx.x];                                           \
    {                                                                  \
      type* p = g;                                                     \
      __VA_ARGS__;                                                     \
    }                                                                  \
    {                                                                  \
      type* p = &s;                                                    \
      __VA_ARGS__;                                                     \
    }                                                                  \
    __syncthreads();                                                   \
    if (threadIdx.x == 0) out[0] = s;                                  \
  }
K(add_i, int, atomicAdd(p, x))
K(add_u8, unsigned long long, atomicAdd(p, x)) K(add_f, float, atomicAdd(p, x)) K(add_d, double, atomicAdd(p, x))
    K(min_i, int, atomicMin(p, x)) K(max_u, unsigned, atomicMax(p, x)) K(max_l, long long, atomicMax(p, x))
        K(and_u, unsigned, atomicAnd(p, x)) K(or_u, unsigned, atomicOr(p, x)) K(xor_u, unsigned, atomicXor(p, x))
            K(exch, int, atomicExch(p, x)) K(inc, unsigned, atomicInc(p, 7)) K(dec, unsigned, atomicDec(p, 7))
                K(cas_f, float, {
                  unsigned* q = (unsigned*)p;
                  unsigned old = *q, seen;
                  do {
                    seen = old;
                    old = atomicCAS(q, seen, __float_as_uint(__uint_as_float(seen) * 2));
                  } while (old != seen);
                }) __constant__ float table[4] = {1.5f, -2, 3, 4};
__device__ int counter = 41;
__device__ long long big[3];
typedef int (*Function)(int);
__device__ __noinline__ int twice(int x) { return 2 * x; }
__device__ __noinline__ int thrice(int x) { return 3 * x; }
__device__ __noinline__ int fibonacci(int n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }
__device__ Function functions[2] = {twice, thrice};
struct Shape {
  __device__ virtual int area(int x) { return x; }
};
struct Square : Shape {
  __device__ int area(int x) override { return x * x; }
};
struct Big {
  int at[20];
};
__device__ __noinline__ Big changed(Big b, int by) {
  for (int i = 0; i < 20; ++i) b.at[i] += by;
  return b;
}
__device__ __noinline__ float warp_sum(float x) {
  for (int k = 16; k; k /= 2) x += __shfl_xor_sync(~0u, x, k);
  __syncthreads();
  return x;
}
extern "C" int printf(const char*, ...);
extern "C" __global__ void calls(int* out, Big b) {
  int i = threadIdx.x;
  Shape shape;
  Square square;
  Shape* p = i % 2 ? &shape : (Shape*)&square;
  out[i] = functions[i % 2](i) + fibonacci(i % 10) + p->area(i) + changed(b, i).at[i % 20] + (int)warp_sum(1) +
           (int)table[i % 4];
  if (i == 0) {
    counter++;
    big[1] = 7;
  }
  printf("%d\n", i);
}
extern "C" __global__ void local(int* out, int n) {
  int a[40];
  for (int i = 0; i < 40; ++i) a[i] = i * i;
  int s = 0;
  for (int i = 0; i < n; ++i) s += a[(i * 7 + threadIdx.x) % 40];
  out[threadIdx.x] = s;
}
extern "C" __global__ void choose(int* out) {
  int i = threadIdx.x, r;
  switch (out[i]) {
    case 0: r = i * 3; break;
    case 1: r = out[i + 32] + 5; break;
    case 2: r = 77 / (i + 1); break;
    case 3: r = i ^ 99; break;
    case 4: r = i << 3; break;
    case 5: r = 1 - i; break;
    case 6: r = i * i; break;
    default: r = -1;
  }
  out[i] = r;
}
extern "C" __global__ void vectors(const float4* a, float4* b, const double2* c, double2* d, const short4* e, short4* f,
                                   const char4* g, char4* h) {
  int i = threadIdx.x;
  float4 x = a[i];
  x.x += x.w;
  b[i] = x;
  double2 y = c[i];
  y.x *= y.y;
  d[i] = y;
  short4 z = e[i];
  z.y += z.z;
  f[i] = z;
  char4 w = g[i];
  w.z -= w.x;
  h[i] = w;
}
extern "C" __global__ void copies(const float* a, float* out) {
  __shared__ __align__(16) float s[128];
  int i = threadIdx.x;
  unsigned at = (unsigned)__cvta_generic_to_shared(s + 4 * i);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(a + 4 * i));
  asm volatile("cp.async.commit_group;");
  asm volatile("cp.async.wait_group 0;");
  __syncthreads();
  out[i] = s[127 - i];
}
extern "C" __global__ void spaces(int* out) {
  __shared__ int s;
  int l = out[0];
  int* p[3] = {out, &s, &l};
  out[threadIdx.x] = __isShared(p[threadIdx.x]) + 2 * __isGlobal(p[threadIdx.x]) + 4 * __isLocal(p[threadIdx.x]);
}
extern "C" __global__ void scopes(int* out) {
  int r = 0;
  for (int k = 0; k < 2; ++k)
    asm volatile(
        "{ .reg .pred p; .reg .b32 low; mov.b32 low, %1; again: add.s32 low, low, 1; setp.lt.s32 p, low, 10; @p bra "
        "again; add.s32 %0, %0, low; }"
        : "+r"(r)
        : "r"(k));
  out[threadIdx.x] = r;
}
