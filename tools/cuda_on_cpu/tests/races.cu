extern "C" __global__ void missing_barrier(int* out) {
  __shared__ int s[64];
  s[threadIdx.x] = threadIdx.x;
  out[threadIdx.x] = s[63 - threadIdx.x];
  if (out == 0) __syncthreads();
}
extern "C" __global__ void no_second_barrier(int* out) {
  __shared__ int s[64];
  for (int k = 0; k < 2; ++k) {
    s[threadIdx.x] = k;
    __syncthreads();
    out[threadIdx.x] += s[63 - threadIdx.x];
  }
}
extern "C" __global__ void two_blocks(int* out) { out[threadIdx.x] = blockIdx.x; }
extern "C" __global__ void plain_beside_atomic(int* out) {
  if (threadIdx.x == 0) out[0] = 1;
  else atomicAdd(out, 1);
}
extern "C" __global__ void shuffle_only(int* out) {
  __shared__ int s[32];
  s[threadIdx.x] = out[threadIdx.x];
  int x = __shfl_xor_sync(~0u, 1, 1);
  out[threadIdx.x] = x + s[31 - threadIdx.x];
}
extern "C" __global__ void block_reads_then_other_writes(int* out) {
  if (blockIdx.x == 0) out[threadIdx.x + 64] = out[0];
  else if (blockIdx.x == 1) out[200 + threadIdx.x] = out[0];
  else if (threadIdx.x == 0) out[0] = 5;
}
extern "C" __global__ void good(int* out) {
  __shared__ int s[64];
  for (int k = 0; k < 2; ++k) {
    s[threadIdx.x] = k;
    __syncthreads();
    out[threadIdx.x] += s[63 - threadIdx.x];
    __syncthreads();
  }
}
extern "C" __global__ void good_warp(int* out) {
  __shared__ int s[64];
  s[threadIdx.x] = threadIdx.x;
  __syncwarp();
  out[threadIdx.x] = s[threadIdx.x ^ 5];
  __syncwarp();
  s[threadIdx.x ^ 1] = 3;
}
extern "C" __global__ void bad_warp(int* out) {
  __shared__ int s[64];
  s[threadIdx.x] = threadIdx.x;
  __syncwarp();
  out[threadIdx.x] = s[threadIdx.x ^ 32];
}
extern "C" __global__ void good_atomics(int* out) {
  atomicAdd(out, 1);
  atomicMax(out + 1, 5);
}
