// RoPE: a thread rotates one pair of channels at a time, of arrays (batch, positions, heads, 2 pairs) with `x_step` and
// `y_step` elements from one position to the next. `sines` has minus the sine at a pair's first channel and the sine at
// its second, which is what is read. `direction` is 1, or -1 for backward.

template <typename T>
__global__ void rotate(const T* x, const wide<T>* cosines, const wide<T>* sines, T* y, long long n, long long positions,
                       long long heads, long long pairs, long long interleaved, double direction, long long x_step,
                       long long y_step) {
  using W = wide<T>;
  for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (long long)gridDim.x * blockDim.x) {
    const long long pair = i % pairs, head = i / pairs % heads, row = i / pairs / heads;  // row: of all samples
    const long long a = interleaved ? 2 * pair : pair, b = interleaved ? a + 1 : pair + pairs;
    const long long table = row % positions * 2 * pairs;
    const W c = cosines[table + a], s = sines[table + b] * (W)direction;
    const T* from = x + row * x_step + head * 2 * pairs;
    T* to = y + row * y_step + head * 2 * pairs;
    const W first = widen(from[a]), second = widen(from[b]);
    to[a] = narrow<T>(first * c - second * s);
    to[b] = narrow<T>(second * c + first * s);
  }
}
