// AdamW over a flat arena, with the clipping of the gradient folded in.

// The gradient is multiplied by host_scale and, unless that is null, by what `device_scale` points to, a factor that
// was computed on the GPU. Where their product is infinite or NaN nothing is changed: a training step makes it NaN
// where its loss or a gradient is not finite, as the host only reads these some steps later.
template <typename T>
__global__ void adamw(wide<T>* p, const wide<T>* g, wide<T>* m, wide<T>* v, long long n, double lr, double beta1,
                      double beta2, double eps, double decay, double correction1, double correction2,
                      double host_scale, const double* device_scale) {
  using W = wide<T>;
  const double factor = host_scale * (device_scale ? *device_scale : 1.0);
  if (!(factor - factor == 0)) return;  // infinite or NaN
  const W b1 = (W)beta1, b2 = (W)beta2, scale = (W)factor, rest1 = (W)(1 - beta1), rest2 = (W)(1 - beta2);
  const W keep = (W)(1 - lr * decay), rate = (W)(lr / correction1), stretch = (W)(1 / sqrt(correction2));
  for (long long i = first_element<1>(); i < n; i += all_elements<1>()) {
    const W gradient = g[i] * scale;
    const W mean = b1 * m[i] + rest1 * gradient, square = b2 * v[i] + rest2 * gradient * gradient;
    m[i] = mean;
    v[i] = square;
    p[i] = keep * p[i] - rate * mean / (sqrt(square) * stretch + (W)eps);
  }
}
