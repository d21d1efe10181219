// Sums, products, activations: a thread computes V neighbouring elements at a time.

template <typename T, int V>
__global__ void add(const T* x, const T* y, T* out, long long n) {
  for (long long i = first_element<V>(); i < n; i += all_elements<V>()) {
    const Pack<T, V> a = load<V>(x + i), b = load<V>(y + i);
    Pack<T, V> sum;
    for (int j = 0; j < V; ++j) sum.at[j] = narrow<T>(widen(a.at[j]) + widen(b.at[j]));
    store(out + i, sum);
  }
}

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

// y = row, for a row of `size` parameters that repeats.
template <typename T, int V>
__global__ void fill_row(const wide<T>* row, T* y, long long n, long long size) {
  for (long long i = first_element<V>(); i < n; i += all_elements<V>()) {
    Columns columns(i, size);
    Pack<T, V> filled;
    for (int j = 0; j < V; ++j) filled.at[j] = narrow<T>(row[columns.next()]);
    store(y + i, filled);
  }
}

// out = x * row, for a row of `size` parameters that repeats.
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
    Pack<T, V> result;  // a product rather than a choice of dy or 0: NaN in dy or y stays NaN, as in the definition
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
