// The masked softmax of attention, not normalised: e = exp(score - the row's maximum), z = the sum of e.

// A head has a row for each query; the queries are the last `queries` of `keys` positions, and query r sees keys
// 0 .. keys - queries + r. One block a row.
template <typename T>
__global__ void masked_exp(T* scores, T* z, long long queries, long long keys) {
  using W = wide<T>;
  const long long row = blockIdx.x, seen = keys - queries + row % queries + 1;
  scores += row * keys;
  W top = -infinity<W>();
  for (long long k = threadIdx.x; k < seen; k += blockDim.x) top = larger(top, (W)widen(scores[k]));
  top = block_reduce<Larger>(top);
  W total = 0;
  for (long long k = threadIdx.x; k < keys; k += blockDim.x) {
    const W e = k < seen ? exp(widen(scores[k]) - top) : (W)0;
    scores[k] = narrow<T>(e);
    total += e;
  }
  total = block_reduce<Add>(total);
  if (threadIdx.x == 0) z[row] = narrow<T>(total);
}

// dscores = e (mask dscores - delta), with one delta for each row of `keys`
template <typename T>
__global__ void masked_exp_backward(T* dscores, const T* e, const T* delta, const T* mask, long long n,
                                    long long keys) {
  for (long long i = first_element<1>(); i < n; i += all_elements<1>()) {
    const wide<T> kept = mask ? widen(mask[i]) : (wide<T>)1;
    dscores[i] = narrow<T>(widen(e[i]) * (kept * widen(dscores[i]) - widen(delta[i / keys])));
  }
}
