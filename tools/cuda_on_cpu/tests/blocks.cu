extern "C" __global__ void counts(const int* a, int* out) {
  int x = a[threadIdx.x];
  out[0] = __syncthreads_count(x > 50);
  out[1] = __syncthreads_and(x > 0);
  out[2] = __syncthreads_or(x > 1000);
}
extern "C" __global__ void reduce(const float* a, float* out, int n) {
  extern __shared__ float s[];
  int i = threadIdx.x;
  float t = 0;
  for (int k = blockIdx.x * blockDim.x + i; k < n; k += gridDim.x * blockDim.x) t += a[k];
  s[i] = t;
  __syncthreads();
  for (int k = blockDim.x / 2; k > 0; k /= 2) {
    if (i < k) s[i] += s[i + k];
    __syncthreads();
  }
  if (i == 0) atomicAdd(out, s[0]);
}
extern "C" __global__ void paths(int* out) {
  __shared__ int s[128];
  int i = threadIdx.x;
  if (i >= 100) return;
  if (i % 2) {
    s[i] = i;
    __syncthreads();
    out[i] = s[i - 1];
  } else {
    s[i] = 10 * i;
    __syncthreads();
    out[i] = s[i + 1];
  }
}
extern "C" __global__ void named(int* out) {
  __shared__ int s[128];
  int w = threadIdx.x / 32;
  s[threadIdx.x] = threadIdx.x;
  asm volatile("bar.sync %0, 64;" ::"r"(1 + w / 2));
  out[threadIdx.x] = s[threadIdx.x ^ 32];
}
extern "C" __global__ void producer(int* out) {
  __shared__ int s[32];
  if (threadIdx.x < 32) {
    s[threadIdx.x] = threadIdx.x * 3;
    asm volatile("bar.arrive 1, 64;" ::: "memory");
  } else {
    asm volatile("bar.sync 1, 64;" ::: "memory");
    out[threadIdx.x - 32] = s[threadIdx.x - 32];
  }
}
extern "C" __global__ void race(int* out) {
  __shared__ int s[64];
  s[threadIdx.x] = threadIdx.x;
  out[threadIdx.x] = s[63 - threadIdx.x];
  if (out == 0) __syncthreads();
}
extern "C" __global__ void never(int* out) {
  if (threadIdx.x < 32) __syncthreads();
  else asm volatile("bar.sync 1, 64;");
}
extern "C" __global__ void lane_never(int* out) {
  if (threadIdx.x != 3) __syncwarp();
  else __syncthreads();
}
extern "C" __global__ void beside(int* out) {
  extern __shared__ float s[];
  float* p = s + threadIdx.x + out[0];
  *p = 1;
  __syncthreads();
  out[1] = s[0];
}
extern "C" __global__ void odd_address(char* out) { *(int*)(out + 2) = 1; }
extern "C" __global__ void wild(int* out) { *(int*)16 = out[0]; }
extern "C" __global__ void wild_together(int* out) {
  out[0] = __shfl_xor_sync(~0u, out[0], 1);
  __syncthreads();
  if (threadIdx.x == 0) *(volatile int*)(out[0] * 1ll << 60) = 1;
}
extern "C" __global__ void trapped(int* out) {
  if (threadIdx.x == 5) __trap();
}
#define assert(x) ((x) ? (void)0 : __assertfail(#x, "kernel.cu", 12, "asserts", 1))
extern "C" __device__ void __assertfail(const char*, const char*, unsigned, const char*, size_t);
extern "C" __global__ void asserts(int* out) { assert(out[threadIdx.x] == 0); }
extern "C" __global__ void shape(int* out) {
  int t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z),
      b = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z), n = blockDim.x * blockDim.y * blockDim.z;
  out[b * n + t] = b * 1000 + threadIdx.z * 100 + threadIdx.y * 10 + threadIdx.x;
}
extern "C" __global__ void __launch_bounds__(64) small(int* out) {
  __shared__ double s[3];
  __shared__ volatile char c;
  s[threadIdx.x % 3] = 1;
  c = 2;
  __syncthreads();
  out[0] = s[0] + c;
}
