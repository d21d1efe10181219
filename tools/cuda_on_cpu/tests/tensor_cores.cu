#define A4 "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3])
#define IO "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
#define LOAD(NA, NB)                                 \
  const int l = threadIdx.x;                         \
  unsigned a[NA], b[NB];                             \
  float c[4];                                        \
  for (int i = 0; i < NA; ++i) a[i] = A[l * NA + i]; \
  for (int i = 0; i < NB; ++i) b[i] = B[l * NB + i]; \
  for (int i = 0; i < 4; ++i) c[i] = C[l * 4 + i];
#define STORE \
  for (int i = 0; i < 4; ++i) C[l * 4 + i] = c[i];
#define BIG(name, shape)                                                                                       \
  extern "C" __global__ void name(const unsigned* A, const unsigned* B, float* C) {                            \
    LOAD(4, 2)                                                                                                 \
    asm volatile("mma.sync.aligned." shape " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};" : IO : A4, \
                 "r"(b[0]), "r"(b[1]));                                                                        \
    STORE                                                                                                      \
  }
#define SMALL(name, shape)                                                                                   \
  extern "C" __global__ void name(const unsigned* A, const unsigned* B, float* C) {                          \
    LOAD(2, 1)                                                                                               \
    asm volatile("mma.sync.aligned." shape " {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};" : IO : "r"(a[0]), \
                 "r"(a[1]), "r"(b[0]));                                                                      \
    STORE                                                                                                    \
  }
BIG(bf16_16, "m16n8k16.row.col.f32.bf16.bf16.f32")
BIG(f16_16, "m16n8k16.row.col.f32.f16.f16.f32") BIG(tf32_8, "m16n8k8.row.col.f32.tf32.tf32.f32")
    SMALL(bf16_8, "m16n8k8.row.col.f32.bf16.bf16.f32") SMALL(f16_8, "m16n8k8.row.col.f32.f16.f16.f32")
        SMALL(tf32_4, "m16n8k4.row.col.f32.tf32.tf32.f32") extern "C" __global__
    void halves(const unsigned* A, const unsigned* B, unsigned* C) {
  const int l = threadIdx.x;
  unsigned c0 = C[2 * l], c1 = C[2 * l + 1];
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%0,%1}, {%2,%3,%4,%5}, {%6,%7}, {%0,%1};"
               : "+r"(c0), "+r"(c1)
               : "r"(A[4 * l]), "r"(A[4 * l + 1]), "r"(A[4 * l + 2]), "r"(A[4 * l + 3]), "r"(B[2 * l]),
                 "r"(B[2 * l + 1]));
  C[2 * l] = c0;
  C[2 * l + 1] = c1;
}
extern "C" __global__ void doubles(const double* A, const double* B, double* C) {
  const int l = threadIdx.x;
  double c0 = C[2 * l], c1 = C[2 * l + 1];
  asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0,%1}, {%2}, {%3}, {%0,%1};"
               : "+d"(c0), "+d"(c1)
               : "d"(A[l]), "d"(B[l]));
  C[2 * l] = c0;
  C[2 * l + 1] = c1;
}
extern "C" __global__ void matrices(const unsigned short* in, unsigned* out) {
  __shared__ __align__(16) unsigned short s[32 * 8];
  const int l = threadIdx.x;
  for (int i = 0; i < 8; ++i) s[l * 8 + i] = in[l * 8 + i];
  __syncthreads();
  unsigned at = (unsigned)__cvta_generic_to_shared(s + l * 8), a, b, c, d;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(a), "=r"(b), "=r"(c), "=r"(d)
               : "r"(at));
  out[l * 4] = a;
  out[l * 4 + 1] = b;
  out[l * 4 + 2] = c;
  out[l * 4 + 3] = d;
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];" : "=r"(a), "=r"(b) : "r"(at));
  out[128 + l * 2] = a;
  out[128 + l * 2 + 1] = b;
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1+128];"
               : "=r"(a)
               : "r"((unsigned)__cvta_generic_to_shared(s + l % 8 * 8)));
  out[192 + l] = a;
}
extern "C" __global__ void missing(const unsigned* A, const unsigned* B, float* C) {
  if (threadIdx.x == 3) return;
  LOAD(2, 1)
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};" : IO : "r"(a[0]),
      "r"(a[1]), "r"(b[0]));
  STORE
}
