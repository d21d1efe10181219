// cuBLAS: its other functions, and what CuPy calls.

// Vectors: element i of n, which run backwards where the step is negative
template <class T>
static T& element(T* x, int n, int step, int i) {
  return x[(long)(step >= 0 ? i : i - (n - 1)) * step];
}
template <class T>
static bool vector_fits(const T* x, int n, int step, const char* who) {
  return n <= 0 || inside(x, ((size_t)(n - 1) * std::abs(step) + 1) * sizeof(T), who, "a vector");
}
#define BLAS_ENTER(who)                              \
  std::lock_guard<std::recursive_mutex> guard(lock); \
  TELL("%s", who);                                   \
  if (sticky) return CUBLAS_STATUS_EXECUTION_FAILED; \
  if (!known(h)) return CUBLAS_STATUS_NOT_INITIALIZED
#define BLAS_BAD return sticky = cudaErrorIllegalAddress, CUBLAS_STATUS_EXECUTION_FAILED

// A result on the host is there when the function returns; one on the device when the stream has come to it.
static Status finish(cublasHandle_t h, std::function<void()> run) {
  enqueue(h->stream, run);
  if (h->mode == CUBLAS_POINTER_MODE_HOST) drain(h->stream);
  return CUBLAS_STATUS_SUCCESS;
}
template <class T, class R>
static Status reduce(const char* who, cublasHandle_t h, int n, T* x, int incx, T* y, int incy, R* result,
                     std::function<R()> run) {
  BLAS_ENTER(who);
  if (!vector_fits(x, n, incx, who) || (y && !vector_fits(y, n, incy, who))) BLAS_BAD;
  if (h->mode == CUBLAS_POINTER_MODE_DEVICE && !inside(result, sizeof(R), who, "the result")) BLAS_BAD;
  if (h->mode == CUBLAS_POINTER_MODE_HOST && on_device(result)) say("%s: the result is on the GPU, in host mode", who);
  return finish(h, [=] { *result = run(); });
}

extern "C" {

Status cublasCreate(cublasHandle_t* h) {
  std::lock_guard<std::recursive_mutex> guard(lock);
  if (DEVICES < 1 || sticky) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (used + (32 << 20) > TOTAL) return CUBLAS_STATUS_ALLOC_FAILED;  // about what its workspace takes
  handles.insert(*h = new cublasContext);
  return CUBLAS_STATUS_SUCCESS;
}
Status cublasDestroy(cublasHandle_t h) {
  return handles.erase(h) ? (delete h, CUBLAS_STATUS_SUCCESS) : CUBLAS_STATUS_NOT_INITIALIZED;
}
Status cublasGetVersion(cublasHandle_t, int* version) { return *version = 120901, CUBLAS_STATUS_SUCCESS; }
Status cublasGetPointerMode(cublasHandle_t h, cublasPointerMode_t* mode) {
  return *mode = h->mode, CUBLAS_STATUS_SUCCESS;
}
Status cublasSetPointerMode(cublasHandle_t h, cublasPointerMode_t mode) {
  return h->mode = mode, CUBLAS_STATUS_SUCCESS;
}
Status cublasSetStream(cublasHandle_t h, cudaStream_t handle) {
  std::lock_guard<std::recursive_mutex> guard(lock);
  if (!known(h)) return CUBLAS_STATUS_NOT_INITIALIZED;
  CUstream_st* stream = stream_of(handle);
  if (!stream) return CUBLAS_STATUS_INVALID_VALUE;
  h->stream = stream;
  h->handle = handle;
  return CUBLAS_STATUS_SUCCESS;
}
Status cublasGetStream(cublasHandle_t h, cudaStream_t* handle) { return *handle = h->handle, CUBLAS_STATUS_SUCCESS; }
Status cublasSetMathMode(cublasHandle_t h, cublasMath_t mode) { return h->math = mode, CUBLAS_STATUS_SUCCESS; }
Status cublasGetMathMode(cublasHandle_t h, cublasMath_t* mode) { return *mode = h->math, CUBLAS_STATUS_SUCCESS; }

#define REAL(S, I, T)                                                                                              \
  Status cublas##I##amax(cublasHandle_t h, int n, T* x, int incx, int* result) {                                   \
    return reduce<T, int>("amax", h, n, x, incx, nullptr, 1, result, [=] {                                         \
      int best = 0;                                                                                                \
      for (int i = 1; i < n; i++)                                                                                  \
        if (std::abs(x[(long)i * incx]) > std::abs(x[(long)best * incx])) best = i;                                \
      return n > 0 ? best + 1 : 0;                                                                                 \
    });                                                                                                            \
  }                                                                                                                \
  Status cublas##I##amin(cublasHandle_t h, int n, T* x, int incx, int* result) {                                   \
    return reduce<T, int>("amin", h, n, x, incx, nullptr, 1, result, [=] {                                         \
      int best = 0;                                                                                                \
      for (int i = 1; i < n; i++)                                                                                  \
        if (std::abs(x[(long)i * incx]) < std::abs(x[(long)best * incx])) best = i;                                \
      return n > 0 ? best + 1 : 0;                                                                                 \
    });                                                                                                            \
  }                                                                                                                \
  Status cublas##S##asum(cublasHandle_t h, int n, T* x, int incx, T* result) {                                     \
    return reduce<T, T>("asum", h, n, x, incx, nullptr, 1, result, [=] {                                           \
      T sum = 0;                                                                                                   \
      for (int i = 0; i < n; i++) sum += std::abs(element(x, n, incx, i));                                         \
      return sum;                                                                                                  \
    });                                                                                                            \
  }                                                                                                                \
  Status cublas##S##nrm2(cublasHandle_t h, int n, T* x, int incx, T* result) {                                     \
    return reduce<T, T>("nrm2", h, n, x, incx, nullptr, 1, result, [=] {                                           \
      double sum = 0;                                                                                              \
      for (int i = 0; i < n; i++) sum += (double)element(x, n, incx, i) * element(x, n, incx, i);                  \
      return (T)std::sqrt(sum);                                                                                    \
    });                                                                                                            \
  }                                                                                                                \
  Status cublas##S##dot(cublasHandle_t h, int n, T* x, int incx, T* y, int incy, T* result) {                      \
    return reduce<T, T>("dot", h, n, x, incx, y, incy, result, [=] {                                               \
      T sum = 0;                                                                                                   \
      for (int i = 0; i < n; i++) sum += element(x, n, incx, i) * element(y, n, incy, i);                          \
      return sum;                                                                                                  \
    });                                                                                                            \
  }                                                                                                                \
  Status cublas##S##ger(cublasHandle_t h, int m, int n, T* alpha, T* x, int incx, T* y, int incy, T* A, int lda) { \
    BLAS_ENTER("ger");                                                                                             \
    if (m < 0 || n < 0 || !incx || !incy || lda < std::max(1, m)) return CUBLAS_STATUS_INVALID_VALUE;              \
    if (!vector_fits(x, m, incx, "ger") || !vector_fits(y, n, incy, "ger") || !fits(A, m, n, lda, "ger", "A"))     \
      BLAS_BAD;                                                                                                    \
    T a = scalar<T>(h, alpha, "ger");                                                                              \
    enqueue(h->stream, [=] {                                                                                       \
      for (int j = 0; j < n; j++)                                                                                  \
        for (int i = 0; i < m; i++) A[i + (long)j * lda] += a * element(x, m, incx, i) * element(y, n, incy, j);   \
    });                                                                                                            \
    return CUBLAS_STATUS_SUCCESS;                                                                                  \
  }
REAL(S, Is, float)
REAL(D, Id, double)

#define ANY(S, T, X)                                                                                                   \
  Status cublas##S##axpy(cublasHandle_t h, int n, T* alpha, T* x_, int incx, T* y_, int incy) {                        \
    BLAS_ENTER("axpy");                                                                                                \
    X *x = (X*)x_, *y = (X*)y_, a = scalar<X>(h, alpha, "axpy");                                                       \
    if (!vector_fits(x, n, incx, "axpy") || !vector_fits(y, n, incy, "axpy")) BLAS_BAD;                                \
    enqueue(h->stream, [=] {                                                                                           \
      for (int i = 0; i < n; i++) element(y, n, incy, i) += a * element(x, n, incx, i);                                \
    });                                                                                                                \
    return CUBLAS_STATUS_SUCCESS;                                                                                      \
  }                                                                                                                    \
  Status cublas##S##scal(cublasHandle_t h, int n, T* alpha, T* x_, int incx) {                                         \
    BLAS_ENTER("scal");                                                                                                \
    X *x = (X*)x_, a = scalar<X>(h, alpha, "scal");                                                                    \
    if (!vector_fits(x, n, incx, "scal")) BLAS_BAD;                                                                    \
    enqueue(h->stream, [=] {                                                                                           \
      for (int i = 0; i < n; i++) x[(long)i * incx] *= a;                                                              \
    });                                                                                                                \
    return CUBLAS_STATUS_SUCCESS;                                                                                      \
  }                                                                                                                    \
  Status cublas##S##gemv(cublasHandle_t h, Op t, int m, int n, T* alpha, T* A_, int lda, T* x_, int incx, T* beta,     \
                         T* y_, int incy) {                                                                            \
    BLAS_ENTER("gemv");                                                                                                \
    if (m < 0 || n < 0 || !incx || !incy || lda < std::max(1, m) || (unsigned)t > 2)                                   \
      return CUBLAS_STATUS_INVALID_VALUE;                                                                              \
    X *A = (X*)A_, *x = (X*)x_, *y = (X*)y_, a = scalar<X>(h, alpha, "gemv"), b = scalar<X>(h, beta, "gemv");          \
    int in = t ? m : n, out = t ? n : m;                                                                               \
    if (!fits(A, m, n, lda, "gemv", "A") || !vector_fits(x, in, incx, "gemv") || !vector_fits(y, out, incy, "gemv"))   \
      BLAS_BAD;                                                                                                        \
    enqueue(h->stream, [=] {                                                                                           \
      for (int i = 0; i < out; i++) {                                                                                  \
        X sum = 0;                                                                                                     \
        for (int j = 0; j < in; j++) {                                                                                 \
          X value = t ? A[j + (long)i * lda] : A[i + (long)j * lda];                                                   \
          sum += (t == CUBLAS_OP_C ? conjugate(value) : value) * element(x, in, incx, j);                              \
        }                                                                                                              \
        X& place = element(y, out, incy, i);                                                                           \
        place = a * sum + (b == X(0) ? X(0) : b * place);                                                              \
      }                                                                                                                \
    });                                                                                                                \
    return CUBLAS_STATUS_SUCCESS;                                                                                      \
  }                                                                                                                    \
  Status cublas##S##gemm(cublasHandle_t h, Op ta, Op tb, int m, int n, int k, T* alpha, T* A, int lda, T* B, int ldb,  \
                         T* beta, T* C, int ldc) {                                                                     \
    return gemm<X, X, X>("cublas" #S "gemm", h, ta, tb, m, n, k, alpha, A, lda, 0, B, ldb, 0, beta, C, ldc, 0, 1,      \
                         h && (int)h->math == 3);                                                                      \
  }                                                                                                                    \
  Status cublas##S##gemmStridedBatched(cublasHandle_t h, Op ta, Op tb, int m, int n, int k, const T* alpha,            \
                                       const T* A, int lda, long long sa, const T* B, int ldb, long long sb,           \
                                       const T* beta, T* C, int ldc, long long sc, int batch) {                        \
    return gemm<X, X, X>("cublas" #S "gemmStridedBatched", h, ta, tb, m, n, k, alpha, A, lda, sa, B, ldb, sb, beta, C, \
                         ldc, sc, batch, h && (int)h->math == 3);                                                      \
  }                                                                                                                    \
  Status cublas##S##gemmBatched(cublasHandle_t h, Op ta, Op tb, int m, int n, int k, const T* alpha, const T** A,      \
                                int lda, const T** B, int ldb, const T* beta, T** C, int ldc, int batch) {             \
    BLAS_ENTER("gemmBatched");                                                                                         \
    if (!inside(A, batch * 8, "gemmBatched", "A") || !inside(B, batch * 8, "gemmBatched", "B") ||                      \
        !inside(C, batch * 8, "gemmBatched", "C"))                                                                     \
      BLAS_BAD;                                                                                                        \
    drain(h->stream); /* the pointers are on the device */                                                             \
    for (int i = 0; i < batch; i++)                                                                                    \
      if (Status status = gemm<X, X, X>("cublas" #S "gemmBatched", h, ta, tb, m, n, k, alpha, A[i], lda, 0, B[i], ldb, \
                                        0, beta, C[i], ldc, 0, 1, false))                                              \
        return status;                                                                                                 \
    return CUBLAS_STATUS_SUCCESS;                                                                                      \
  }                                                                                                                    \
  Status cublas##S##geam(cublasHandle_t h, Op ta, Op tb, int m, int n, const T* alpha, const T* A_, int lda,           \
                         const T* beta, const T* B_, int ldb, T* C_, int ldc) {                                        \
    BLAS_ENTER("geam");                                                                                                \
    const X *A = (const X*)A_, *B = (const X*)B_;                                                                      \
    X *C = (X*)C_, a = scalar<X>(h, alpha, "geam"), b = scalar<X>(h, beta, "geam");                                    \
    if (m < 0 || n < 0 || ldc < std::max(1, m) || (a != X(0) && lda < std::max(1, ta ? n : m)) ||                      \
        (b != X(0) && ldb < std::max(1, tb ? n : m)))                                                                  \
      return CUBLAS_STATUS_INVALID_VALUE;                                                                              \
    if ((a != X(0) && !fits(A, ta ? n : m, ta ? m : n, lda, "geam", "A")) ||                                           \
        (b != X(0) && !fits(B, tb ? n : m, tb ? m : n, ldb, "geam", "B")) || !fits(C, m, n, ldc, "geam", "C"))         \
      BLAS_BAD;                                                                                                        \
    enqueue(h->stream, [=] {                                                                                           \
      for (int j = 0; j < n; j++)                                                                                      \
        for (int i = 0; i < m; i++) {                                                                                  \
          X sum = 0;                                                                                                   \
          if (a != X(0))                                                                                               \
            sum += a * (ta == CUBLAS_OP_C ? conjugate(A[j + (long)i * lda])                                            \
                        : ta              ? A[j + (long)i * lda]                                                       \
                                          : A[i + (long)j * lda]);                                                     \
          if (b != X(0))                                                                                               \
            sum += b * (tb == CUBLAS_OP_C ? conjugate(B[j + (long)i * ldb])                                            \
                        : tb              ? B[j + (long)i * ldb]                                                       \
                                          : B[i + (long)j * ldb]);                                                     \
          C[i + (long)j * ldc] = sum;                                                                                  \
        }                                                                                                              \
    });                                                                                                                \
    return CUBLAS_STATUS_SUCCESS;                                                                                      \
  }                                                                                                                    \
  Status cublas##S##dgmm(cublasHandle_t h, cublasSideMode_t side, int m, int n, const T* A_, int lda, const T* x_,     \
                         int incx, T* C_, int ldc) {                                                                   \
    BLAS_ENTER("dgmm");                                                                                                \
    const X *A = (const X*)A_, *x = (const X*)x_;                                                                      \
    X* C = (X*)C_;                                                                                                     \
    int length = side == CUBLAS_SIDE_LEFT ? m : n;                                                                     \
    if (!fits(A, m, n, lda, "dgmm", "A") || !fits(C, m, n, ldc, "dgmm", "C") || !vector_fits(x, length, incx, "dgmm")) \
      BLAS_BAD;                                                                                                        \
    enqueue(h->stream, [=] {                                                                                           \
      for (int j = 0; j < n; j++)                                                                                      \
        for (int i = 0; i < m; i++)                                                                                    \
          C[i + (long)j * ldc] = A[i + (long)j * lda] * element(x, length, incx, side == CUBLAS_SIDE_LEFT ? i : j);    \
    });                                                                                                                \
    return CUBLAS_STATUS_SUCCESS;                                                                                      \
  }
ANY(S, float, float)
ANY(D, double, double)
ANY(C, cuComplex, std::complex<float>)
ANY(Z, cuDoubleComplex, std::complex<double>)

Status cublasSgemmEx(cublasHandle_t h, Op ta, Op tb, int m, int n, int k, const float* alpha, const void* A,
                     cudaDataType At, int lda, const void* B, cudaDataType Bt, int ldb, const float* beta, void* C,
                     cudaDataType Ct, int ldc) {
  return gemm_ex("cublasSgemmEx", h, ta, tb, m, n, k, alpha, A, At, lda, 0, B, Bt, ldb, 0, beta, C, Ct, ldc, 0, 1,
                 CUBLAS_COMPUTE_32F);
}
Status cublasGemmEx_v11(cublasHandle_t h, Op ta, Op tb, int m, int n, int k, const void* alpha, const void* A,
                        cudaDataType At, int lda, const void* B, cudaDataType Bt, int ldb, const void* beta, void* C,
                        cudaDataType Ct, int ldc, cublasComputeType_t compute, cublasGemmAlgo_t) {
  return gemm_ex("cublasGemmEx", h, ta, tb, m, n, k, alpha, A, At, lda, 0, B, Bt, ldb, 0, beta, C, Ct, ldc, 0, 1,
                 compute);
}
Status cublasGemmStridedBatchedEx_v11(cublasHandle_t h, Op ta, Op tb, int m, int n, int k, const void* alpha,
                                      const void* A, cudaDataType At, int lda, long long sa, const void* B,
                                      cudaDataType Bt, int ldb, long long sb, const void* beta, void* C,
                                      cudaDataType Ct, int ldc, long long sc, int batch, cublasComputeType_t compute,
                                      cublasGemmAlgo_t) {
  return gemm_ex("cublasGemmStridedBatchedEx", h, ta, tb, m, n, k, alpha, A, At, lda, sa, B, Bt, ldb, sb, beta, C, Ct,
                 ldc, sc, batch, compute);
}

}  // extern "C"
