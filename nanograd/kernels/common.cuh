// What all kernels share: types, vectors, sums over a warp or a block. Prepended to every .cu file here.
//
// A kernel is a template over T, the type in which arrays are stored: float, double or bfloat16. Sums and all
// arithmetic are done in wide<T>, float or double. Parameters and their gradients are stored in it too, and so is what
// normalisation, attention and cross-entropy keep of a row. No header of CUDA's is included, so that NVRTC is enough
// and a machine needs no CUDA toolkit.

struct bfloat16 {
  unsigned short bits;
};

template <typename T> struct Wide { using type = float; };
template <> struct Wide<double> { using type = double; };
template <typename T> using wide = typename Wide<T>::type;

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ double widen(double x) { return x; }
__device__ __forceinline__ float widen(bfloat16 x) { return __uint_as_float((unsigned)x.bits << 16); }

template <typename T> __device__ __forceinline__ T narrow(wide<T> x) { return x; }
template <> __device__ __forceinline__ bfloat16 narrow<bfloat16>(float x) {  // to the nearest, ties to even
#if __CUDA_ARCH__ >= 800
  bfloat16 rounded;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(rounded.bits) : "f"(x));
  return rounded;
#else
  unsigned bits = __float_as_uint(x);
  if (x != x) return {(unsigned short)((bits >> 16) | 0x40)};
  return {(unsigned short)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
#endif
}

// V numbers that are read and written at once, up to 16 bytes.
template <typename T, int V> struct alignas(sizeof(T) * V) Pack {
  T at[V];
};

template <int V, typename T> __device__ __forceinline__ Pack<T, V> load(const T* from) {
  return *reinterpret_cast<const Pack<T, V>*>(from);
}

template <int V, typename T> __device__ __forceinline__ void store(T* to, const Pack<T, V>& pack) {
  *reinterpret_cast<Pack<T, V>*>(to) = pack;
}

// The first of the V elements with which this thread begins, and how far it is from these to its next V.
template <int V> __device__ __forceinline__ long long first_element() {
  return ((long long)blockIdx.x * blockDim.x + threadIdx.x) * V;
}
template <int V> __device__ __forceinline__ long long all_elements() {
  return (long long)gridDim.x * blockDim.x * V;
}

// Infinity: INFINITY and numeric_limits are in headers.
template <typename W> __device__ __forceinline__ W infinity() { return (W)__uint_as_float(0x7f800000u); }

// NaN if one of the two is.
template <typename W> __device__ __forceinline__ W larger(W a, W b) { return a > b || a != a ? a : b; }

struct Add {
  template <typename W> __device__ __forceinline__ W operator()(W a, W b) const { return a + b; }
};
struct Larger {
  template <typename W> __device__ __forceinline__ W operator()(W a, W b) const { return larger(a, b); }
};

// x combined over the 32 threads of a warp; every thread gets the result.
template <typename Combine, typename W> __device__ __forceinline__ W warp_reduce(W x) {
  for (int other = 16; other > 0; other /= 2) x = Combine()(x, __shfl_xor_sync(0xffffffffu, x, other));
  return x;
}

// The same over a block of whole warps, 32 at most. Every thread of the block must call it.
template <typename Combine, typename W> __device__ __forceinline__ W block_reduce(W x) {
  __shared__ W of_warp[32];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
  x = warp_reduce<Combine>(x);
  __syncthreads();  // where a kernel calls this twice with the same Combine and W, some may still read the first result
  if (lane == 0) of_warp[warp] = x;
  __syncthreads();
  x = of_warp[0];
  for (int other = 1; other < warps; ++other) x = Combine()(x, of_warp[other]);
  return x;
}

// Shared memory whose size the launch decides.
#define SHARED_MEMORY(type, name)                                    \
  extern __shared__ __align__(16) unsigned char name##_bytes[];      \
  type* name = reinterpret_cast<type*>(name##_bytes)
