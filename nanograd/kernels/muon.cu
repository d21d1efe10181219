// What Muon does to flat arenas before and after its matrices are made orthogonal.

// The factor of the gradient, as in adamw.cu. Where it is infinite or NaN neither kernel changes anything.
__device__ __forceinline__ double scale_of(double host_scale, const double* device_scale) {
  return host_scale * (device_scale ? *device_scale : 1.0);
}

// b = momentum b + g, u = g + momentum b.
template <typename T>
__global__ void momentum(const wide<T>* g, wide<T>* b, wide<T>* u, long long n, double momentum, double host_scale,
                         const double* device_scale) {
  using W = wide<T>;
  const double factor = scale_of(host_scale, device_scale);
  if (!(factor - factor == 0)) return;
  const W memory = (W)momentum, scale = (W)factor;
  for (long long i = first_element<1>(); i < n; i += all_elements<1>()) {
    const W gradient = g[i] * scale, mean = memory * b[i] + gradient;
    b[i] = mean;
    u[i] = gradient + memory * mean;
  }
}

// p = (1 - lr decay) p - lr u.
template <typename T>
__global__ void add_update(wide<T>* p, const wide<T>* u, long long n, double lr, double decay, double host_scale,
                           const double* device_scale) {
  using W = wide<T>;
  const double factor = scale_of(host_scale, device_scale);
  if (!(factor - factor == 0)) return;
  const W keep = (W)(1 - lr * decay), rate = (W)lr;
  for (long long i = first_element<1>(); i < n; i += all_elements<1>()) p[i] = keep * p[i] - rate * u[i];
}
