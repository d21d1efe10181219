// What attention's kernels on tensor cores share apart from products.

// exp(x) is computed as exp2(x log2(e)): exp2 is one instruction.
constexpr float LOG2E = 1.4426950408889634f;

// log2 z of a query, which backward subtracts from its scores times log2(e); infinity, and so a weight of 0, beyond the
// last query.
__device__ __forceinline__ float shift_of(const float* logz, long long query, long long queries) {
  return query < queries ? logz[query] * LOG2E : infinity<float>();
}
__device__ __forceinline__ float delta_of(const float* delta, long long query, long long queries) {
  return query < queries ? delta[query] : 0.0f;
}

// From scores and products of 16 keys (rows) and 16 queries (columns) to weights and gradients: q . k, before scaling,
// becomes P m, P after dropout, and do . v becomes dS = P (m (do . v) - delta). The first row is key `key`, the first
// column query `query`. Column c sees rows up to reach + c; both are 0 in the others. `shift` and `delta` are those of
// the 16 queries, `factor` is scale log2(e).
template <bool DROPS>
__device__ __forceinline__ void weigh_tile(float (&scores)[2][4], float (&products)[2][4], float factor,
                                           const float* shift, const float* delta, int reach, const Dropping& dropping,
                                           long long batch, long long heads, long long head, long long queries,
                                           long long query, long long key) {
  Drawn drawn[2];
#pragma unroll
  for (int n = 0; n < 2; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = row_in_tile(i), c = 8 * n + column_in_tile(i);
      const bool seen = row <= reach + c;
      const float weight = seen ? exp2f(scores[n][i] * factor - shift[c]) : 0.0f;
      float mask = 1;
      if (DROPS && seen && query + c < queries)
        mask = (float)kept(dropping, drawn[i / 2], batch, heads, head, queries, query + c, key + row);
      scores[n][i] = weight * mask, products[n][i] = weight * (products[n][i] * mask - delta[c]);
    }
}
