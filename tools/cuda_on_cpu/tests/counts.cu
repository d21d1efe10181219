extern "C" __global__ void axpy(const float* x, const float* y, float* out) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  out[i] = 3 * x[i] + y[i];
}
extern "C" __global__ void every_thread_the_same(const float* x, float* out) {
  if (x[0] == 12345) out[threadIdx.x] = 1;
}
extern "C" __global__ void strided(float* out, int stride) {
  __shared__ float s[33 * 32];
  s[threadIdx.x * stride] = 1;
  if (stride < 0) out[0] = s[threadIdx.x + 1];
}
extern "C" __global__ void wide(float* out) {
  __shared__ float4 s[32];
  s[threadIdx.x] = make_float4(1, 2, 3, 4);
  if (out == nullptr) out[0] = s[threadIdx.x ^ 1].x;
}
