// cuBLAS: products of matrices.

struct cublasContext {
  CUstream_st* stream = &legacy;
  cudaStream_t handle = nullptr;
  cublasPointerMode_t mode = CUBLAS_POINTER_MODE_HOST;
  cublasMath_t math{};
};
static std::set<cublasContext*> handles;
typedef cublasStatus_t Status;
typedef cublasOperation_t Op;

struct bf16 {
  uint16_t bits;
};
struct f16 {
  _Float16 value;
};
static float load(const bf16& x) {
  uint32_t bits = (uint32_t)x.bits << 16;
  float f;
  memcpy(&f, &bits, 4);
  return f;
}
static float load(const f16& x) { return (float)x.value; }
static float load(const float& x) { return x; }
static double load(const double& x) { return x; }
static std::complex<float> load(const std::complex<float>& x) { return x; }
static std::complex<double> load(const std::complex<double>& x) { return x; }
static void store(bf16& to, float f) {  // to the nearest, ties to even
  uint32_t bits;
  memcpy(&bits, &f, 4);
  if (f != f) to.bits = 0x7fff;
  else to.bits = (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
static void store(f16& to, float f) { to.value = (_Float16)f; }
template <class T>
static void store(T& to, T from) {
  to = from;
}
static float rounded(float f, bool tf32) {  // to the 10 bits of TF32, ties away from zero, as cvt.rna.tf32 does
  if (!tf32) return f;
  uint32_t bits;
  memcpy(&bits, &f, 4);
  if ((bits & 0x7f800000) != 0x7f800000) bits = (bits + 0x1000) & ~0x1fffu;
  memcpy(&f, &bits, 4);
  return f;
}
template <class T>
static T rounded(T x, bool) {
  return x;
}
template <class T>
static T conjugate(T x) {
  return x;
}
template <class T>
static std::complex<T> conjugate(std::complex<T> x) {
  return std::conj(x);
}

// C = alpha op(A) op(B) + beta C, columns first. C is not read where beta is 0.
template <class In, class Out, class Sum>
static void multiply(Op ta, Op tb, int m, int n, int k, Sum alpha, const In* A, long lda, const In* B, long ldb,
                     Sum beta, Out* C, long ldc, bool tf32) {
  std::vector<Sum> packed((size_t)m * k), column(k), sums(m);
  for (int p = 0; p < k; p++)
    for (int i = 0; i < m; i++) {
      Sum a = load(ta == CUBLAS_OP_N ? A[i + p * lda] : A[p + i * lda]);
      packed[i + (size_t)p * m] = rounded(ta == CUBLAS_OP_C ? conjugate(a) : a, tf32);
    }
  for (int j = 0; j < n; j++) {
    for (int p = 0; p < k; p++) {
      Sum b = load(tb == CUBLAS_OP_N ? B[p + j * ldb] : B[j + p * ldb]);
      column[p] = rounded(tb == CUBLAS_OP_C ? conjugate(b) : b, tf32);
    }
    std::fill(sums.begin(), sums.end(), Sum(0));
    for (int p = 0; p < k; p++) {
      const Sum b = column[p], *a = &packed[(size_t)p * m];
      for (int i = 0; i < m; i++) sums[i] += a[i] * b;
    }
    for (int i = 0; i < m; i++) {
      Out& c = C[i + j * ldc];
      Sum value = alpha * sums[i];
      if (beta != Sum(0)) value += beta * load(c);
      store(c, value);
    }
  }
}

static bool known(cublasHandle_t h) { return handles.count(h) || (say("cuBLAS: no such handle"), false); }
template <class T>
static T scalar(cublasHandle_t h, const void* place, const char* who) {
  if (h->mode == CUBLAS_POINTER_MODE_HOST && on_device(place)) say("%s: a scalar on the GPU, in host mode", who);
  if (h->mode == CUBLAS_POINTER_MODE_DEVICE && !on_device(place)) say("%s: a scalar on the host, in device mode", who);
  if (h->mode == CUBLAS_POINTER_MODE_DEVICE) drain(h->stream);
  T value;
  memcpy((void*)&value, place, sizeof value);
  return value;
}

// Is the matrix of `rows` x `columns` in the GPU's memory, and is its leading dimension large enough?
template <class T>
static bool fits(const T* matrix, int rows, int columns, int ld, const char* who, const char* role) {
  if (ld < std::max(1, rows))
    return say("%s: the leading dimension %d of %s is less than its %d rows", who, ld, role, rows), false;
  if (!rows || !columns) return true;
  if ((uintptr_t)matrix % sizeof(T)) return say("%s: %s is not aligned", who, role), false;
  return inside(matrix, ((size_t)ld * (columns - 1) + rows) * sizeof(T), who, role);
}
static void overlap(const void* a, size_t a_size, const void* c, size_t c_size, const char* who) {
  if ((uintptr_t)a < (uintptr_t)c + c_size && (uintptr_t)c < (uintptr_t)a + a_size)
    say("%s: the result overlaps an operand", who);
}

template <class In, class Out, class Sum>
static Status gemm(const char* who, cublasHandle_t h, Op ta, Op tb, int m, int n, int k, const void* alpha,
                   const void* A_, int lda, long long sa, const void* B_, int ldb, long long sb, const void* beta,
                   void* C_, int ldc, long long sc, int batch, bool tf32) {
  std::lock_guard<std::recursive_mutex> guard(lock);
  TELL("%s %d x %d x %d, %d %d, %d times", who, m, n, k, ta, tb, batch);
  if (sticky) return CUBLAS_STATUS_EXECUTION_FAILED;
  if (!known(h)) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (m < 0 || n < 0 || k < 0 || batch < 0 || (unsigned)ta > 2 || (unsigned)tb > 2 || !alpha || !beta)
    return CUBLAS_STATUS_INVALID_VALUE;
  const In *A = (const In*)A_, *B = (const In*)B_;
  Out* C = (Out*)C_;
  int rows_a = ta == CUBLAS_OP_N ? m : k, rows_b = tb == CUBLAS_OP_N ? k : n;
  if (lda < std::max(1, rows_a) || ldb < std::max(1, rows_b) || ldc < std::max(1, m)) {
    say("%s: leading dimensions %d, %d, %d for %d x %d x %d with operations %d, %d", who, lda, ldb, ldc, m, n, k, ta,
        tb);
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (!m || !n || !batch) return CUBLAS_STATUS_SUCCESS;
  Sum a = scalar<Sum>(h, alpha, who), b = scalar<Sum>(h, beta, who);
  for (int i : {0, batch - 1})
    if ((k && (!fits(A + i * sa, rows_a, ta == CUBLAS_OP_N ? k : m, lda, who, "A") ||
               !fits(B + i * sb, rows_b, tb == CUBLAS_OP_N ? n : k, ldb, who, "B"))) ||
        !fits(C + i * sc, m, n, ldc, who, "C")) {
      sticky = cudaErrorIllegalAddress;
      return CUBLAS_STATUS_EXECUTION_FAILED;
    }
  size_t c_size = ((size_t)ldc * (n - 1) + m) * sizeof(Out);
  if (k && batch == 1) {
    overlap(A, ((size_t)lda * ((ta == CUBLAS_OP_N ? k : m) - 1) + rows_a) * sizeof(In), C, c_size, who);
    overlap(B, ((size_t)ldb * ((tb == CUBLAS_OP_N ? n : k) - 1) + rows_b) * sizeof(In), C, c_size, who);
  }
  size_t operands = ((size_t)m * k + (size_t)k * n) * sizeof(In), result = (size_t)m * n * sizeof(Out);
  count_bytes(who, batch * (operands + (b != Sum(0) ? result : 0)), batch * result, 2ull * m * n * k * batch, true);
  enqueue(h->stream, [=] {
    for (int i = 0; i < batch && !DRY; i++)
      multiply<In, Out, Sum>(ta, tb, m, n, k, a, A + i * sa, lda, B + i * sb, ldb, b, C + i * sc, ldc, tf32);
  });
  return CUBLAS_STATUS_SUCCESS;
}

static Status gemm_ex(const char* who, cublasHandle_t h, Op ta, Op tb, int m, int n, int k, const void* alpha,
                      const void* A, cudaDataType At, int lda, long long sa, const void* B, cudaDataType Bt, int ldb,
                      long long sb, const void* beta, void* C, cudaDataType Ct, int ldc, long long sc, int batch,
                      int compute) {
#define CASE(In, Out, Sum, tf32) \
  return gemm<In, Out, Sum>(who, h, ta, tb, m, n, k, alpha, A, lda, sa, B, ldb, sb, beta, C, ldc, sc, batch, tf32)
  bool single = compute == CUBLAS_COMPUTE_32F || compute == CUBLAS_COMPUTE_32F_PEDANTIC;
  bool fast = compute == CUBLAS_COMPUTE_32F_FAST_TF32 || compute == CUBLAS_COMPUTE_32F_FAST_16F ||
              compute == CUBLAS_COMPUTE_32F_FAST_16BF;
  bool mode_tf32 = h && (int)h->math == 3 && compute == CUBLAS_COMPUTE_32F;
  if (At == Bt) {
    if (single && At == CUDA_R_16BF && Ct == CUDA_R_16BF) CASE(bf16, bf16, float, false);
    if (single && At == CUDA_R_16BF && Ct == CUDA_R_32F) CASE(bf16, float, float, false);
    if (single && At == CUDA_R_16F && Ct == CUDA_R_16F) CASE(f16, f16, float, false);
    if (single && At == CUDA_R_16F && Ct == CUDA_R_32F) CASE(f16, float, float, false);
    if ((single || fast) && At == CUDA_R_32F && Ct == CUDA_R_32F)
      CASE(float, float, float, mode_tf32 || compute == CUBLAS_COMPUTE_32F_FAST_TF32);
    if ((single || fast) && At == CUDA_C_32F && Ct == CUDA_C_32F)
      CASE(std::complex<float>, std::complex<float>, std::complex<float>, false);
    bool two = compute == CUBLAS_COMPUTE_64F || compute == CUBLAS_COMPUTE_64F_PEDANTIC;
    if (two && At == CUDA_R_64F && Ct == CUDA_R_64F) CASE(double, double, double, false);
    if (two && At == CUDA_C_64F && Ct == CUDA_C_64F)
      CASE(std::complex<double>, std::complex<double>, std::complex<double>, false);
  }
#undef CASE
  say("%s: types %d, %d, %d with compute type %d are not supported", who, At, Bt, Ct, compute);
  return CUBLAS_STATUS_NOT_SUPPORTED;
}
