// Sums, products, activations: one thread looks after V neighbouring elements at a time.

template <typename T, int V>
__global__ void add(const T* x, const T* y, T* out, long long n) {
  for (long long i = first_element<V>(); i < n; i += all_elements<V>()) {
    const Pack<T, V> a = load<V>(x + i), b = load<V>(y + i);
    Pack<T, V> sum;
    for (int j = 0; j < V; ++j) sum.at[j] = narrow<T>(widen(a.at[j]) + widen(b.at[j]));
    store(out + i, sum);
  }
}

// The columns of neighbouring elements, from the i-th on, of rows of `size`: one division for all of them, in 32 bits
// where the numbers allow that, as a division of 64 bits takes as long as reading the element does.
struct Columns {
  long long size, at;
  __device__ __forceinline__ Columns(long long i, long long size)
      : size(size), at((i | size) >> 32 ? i % size : (long long)((unsigned)i % (unsigned)size)) {}
  __device__ __forceinline__ long long next() {
    const long long now = at++;
    if (at == size) at = 0;
    return now;
  }
};

// out = x + row, for a row of `size` parameters that repeats.
template <typename T, int V>
__global__ void add_row(const T* x, const wide<T>* row, T* out, long long n, long long size) {
  for (long long i = first_element<V>(); i < n; i += all_elements<V>()) {
    const Pack<T, V> a = load<V>(x + i);
    Columns columns(i, size);
    Pack<T, V> sum;
    for (int j = 0; j < V; ++j) sum.at[j] = narrow<T>(widen(a.at[j]) + row[columns.next()]);
    store(out + i, sum);
  }
}

// out = x * row, likewise.
template <typename T, int V>
__global__ void scale_row(const T* x, const wide<T>* row, T* out, long long n, long long size) {
  for (long long i = first_element<V>(); i < n; i += all_elements<V>()) {
    const Pack<T, V> a = load<V>(x + i);
    Columns columns(i, size);
    Pack<T, V> product;
    for (int j = 0; j < V; ++j) product.at[j] = narrow<T>(widen(a.at[j]) * row[columns.next()]);
    store(out + i, product);
  }
}

// y = x + mask (y + bias), in place; bias (a row of `size`), mask and x may each be null.
template <typename T, int V>
__global__ void finish_branch(T* y, const wide<T>* bias, const T* mask, const T* x, long long n, long long size) {
  for (long long i = first_element<V>(); i < n; i += all_elements<V>()) {
    Columns columns(i, size);
    Pack<T, V> a = load<V>(y + i), kept, stream;
    if (mask) kept = load<V>(mask + i);
    if (x) stream = load<V>(x + i);
    for (int j = 0; j < V; ++j) {
      wide<T> value = widen(a.at[j]);
      if (bias) value += bias[columns.next()];
      if (mask) value *= widen(kept.at[j]);
      if (x) value += widen(stream.at[j]);
      a.at[j] = narrow<T>(value);
    }
    store(y + i, a);
  }
}

template <typename T, int V>
__global__ void multiply(const T* x, const T* y, T* out, long long n) {
  for (long long i = first_element<V>(); i < n; i += all_elements<V>()) {
    const Pack<T, V> a = load<V>(x + i), b = load<V>(y + i);
    Pack<T, V> product;
    for (int j = 0; j < V; ++j) product.at[j] = narrow<T>(widen(a.at[j]) * widen(b.at[j]));
    store(out + i, product);
  }
}

template <typename T, int V>
__global__ void cast(const wide<T>* x, T* out, long long n) {
  for (long long i = first_element<V>(); i < n; i += all_elements<V>()) {
    Pack<T, V> rounded;
    for (int j = 0; j < V; ++j) rounded.at[j] = narrow<T>(x[i + j]);
    store(out + i, rounded);
  }
}

// x + bias, for neighbouring elements from the i-th on; the bias, a row of `size`, may be null.
template <typename T, int V>
__device__ __forceinline__ Pack<wide<T>, V> with_bias(const T* x, const wide<T>* bias, long long i, long long size) {
  const Pack<T, V> a = load<V>(x + i);
  Pack<wide<T>, V> sum;
  for (int j = 0; j < V; ++j) sum.at[j] = widen(a.at[j]);
  if (bias) {
    Columns columns(i, size);
    for (int j = 0; j < V; ++j) sum.at[j] += bias[columns.next()];
  }
  return sum;
}

template <typename T, int V>
__global__ void relu(const T* x, const wide<T>* bias, T* y, long long n, long long size) {
  for (long long i = first_element<V>(); i < n; i += all_elements<V>()) {
    const Pack<wide<T>, V> a = with_bias<T, V>(x, bias, i, size);
    Pack<T, V> result;
    for (int j = 0; j < V; ++j) result.at[j] = narrow<T>(larger(a.at[j], (wide<T>)0));
    store(y + i, result);
  }
}

template <typename T, int V>
__global__ void relu_backward(const T* dy, const T* y, T* dx, long long n) {
  for (long long i = first_element<V>(); i < n; i += all_elements<V>()) {
    const Pack<T, V> d = load<V>(dy + i), a = load<V>(y + i);
    Pack<T, V> result;  // a product, not a choice, so that NaN in dy or y stays visible, as in the definition
    for (int j = 0; j < V; ++j) {
      const wide<T> value = widen(a.at[j]), slope = value == value ? (wide<T>)(value > 0) : value;
      result.at[j] = narrow<T>(widen(d.at[j]) * slope);
    }
    store(dx + i, result);
  }
}

// r = max(x + bias, 0), y = r^2.
template <typename T, int V>
__global__ void relu_squared(const T* x, const wide<T>* bias, T* r, T* y, long long n, long long size) {
  for (long long i = first_element<V>(); i < n; i += all_elements<V>()) {
    const Pack<wide<T>, V> a = with_bias<T, V>(x, bias, i, size);
    Pack<T, V> kept, square;
    for (int j = 0; j < V; ++j) {
      const wide<T> value = larger(a.at[j], (wide<T>)0);
      kept.at[j] = narrow<T>(value), square.at[j] = narrow<T>(value * value);
    }
    store(r + i, kept);
    store(y + i, square);
  }
}

template <typename T, int V>
__global__ void relu_squared_backward(const T* dy, const T* r, T* dx, long long n) {
  for (long long i = first_element<V>(); i < n; i += all_elements<V>()) {
    const Pack<T, V> d = load<V>(dy + i), a = load<V>(r + i);
    Pack<T, V> result;
    for (int j = 0; j < V; ++j) result.at[j] = narrow<T>(2 * widen(a.at[j]) * widen(d.at[j]));
    store(dx + i, result);
  }
}

// SwiGLU as in swiglu.py: y = silu(g) u.
template <typename W> __device__ __forceinline__ W sigmoid(W g) { return 1 / (1 + exp(-g)); }

template <typename T, int V>
__global__ void swiglu(const T* gate, const T* up, T* y, long long n) {
  for (long long i = first_element<V>(); i < n; i += all_elements<V>()) {
    const Pack<T, V> g = load<V>(gate + i), u = load<V>(up + i);
    Pack<T, V> result;
    for (int j = 0; j < V; ++j) {
      const wide<T> value = widen(g.at[j]);
      result.at[j] = narrow<T>(value * sigmoid(value) * widen(u.at[j]));
    }
    store(y + i, result);
  }
}

template <typename T, int V>
__global__ void swiglu_backward(const T* dy, const T* gate, const T* up, T* dgate, T* dup, long long n) {
  for (long long i = first_element<V>(); i < n; i += all_elements<V>()) {
    const Pack<T, V> d = load<V>(dy + i), g = load<V>(gate + i), u = load<V>(up + i);
    Pack<T, V> by_gate, by_up;
    for (int j = 0; j < V; ++j) {
      const wide<T> value = widen(g.at[j]), s = sigmoid(value), slope = s + value * s * (1 - s);
      by_gate.at[j] = narrow<T>(widen(d.at[j]) * widen(u.at[j]) * slope);
      by_up.at[j] = narrow<T>(widen(d.at[j]) * value * s);
    }
    store(dgate + i, by_gate);
    store(dup + i, by_up);
  }
}

// GELU as in activations.py, from the same u and t.
__device__ __forceinline__ double tanh_of(double u) { return tanh(u); }
__device__ __forceinline__ float tanh_of(float u) {  // as 1 - 2 / (e^2u + 1), a fifth of tanh's instructions
  return 1 - __fdividef(2.0f, exp2f(2.885390082f * u) + 1);
}
template <typename W> __device__ __forceinline__ W gelu_t(W x) {
  return tanh_of((W)0.79788456080286535588 * (x + (W)0.044715 * x * x * x));
}

template <typename T, int V>
__global__ void gelu(const T* x, const wide<T>* bias, T* y, long long n, long long size) {
  for (long long i = first_element<V>(); i < n; i += all_elements<V>()) {
    const Pack<wide<T>, V> a = with_bias<T, V>(x, bias, i, size);
    Pack<T, V> result;
    for (int j = 0; j < V; ++j) result.at[j] = narrow<T>((wide<T>)0.5 * a.at[j] * (1 + gelu_t(a.at[j])));
    store(y + i, result);
  }
}

template <typename T, int V>
__global__ void gelu_backward(const T* dy, const T* x, const wide<T>* bias, T* dx, long long n, long long size) {
  using W = wide<T>;
  for (long long i = first_element<V>(); i < n; i += all_elements<V>()) {
    const Pack<T, V> d = load<V>(dy + i);
    const Pack<W, V> a = with_bias<T, V>(x, bias, i, size);
    Pack<T, V> result;
    for (int j = 0; j < V; ++j) {
      const W value = a.at[j], t = gelu_t(value);
      const W du = (W)0.79788456080286535588 * (1 + 3 * (W)0.044715 * value * value);
      result.at[j] = narrow<T>(widen(d.at[j]) * ((W)0.5 * (1 + t) + (W)0.5 * value * (1 - t * t) * du));
    }
    store(dx + i, result);
  }
}
