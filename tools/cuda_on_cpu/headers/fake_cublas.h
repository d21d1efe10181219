// The part of cuBLAS that libfakecuda has. The rest is made by build.sh from CuPy's stub and says "not supported".
#pragma once
#include "cupy_cuda_common.h"
#define H cublasHandle_t h
#define OP cublasOperation_t
extern "C" {
cublasStatus_t cublasCreate(cublasHandle_t*);
cublasStatus_t cublasDestroy(H);
cublasStatus_t cublasGetVersion(H, int*);
cublasStatus_t cublasGetPointerMode(H, cublasPointerMode_t*);
cublasStatus_t cublasSetPointerMode(H, cublasPointerMode_t);
cublasStatus_t cublasSetStream(H, cudaStream_t);
cublasStatus_t cublasGetStream(H, cudaStream_t*);
cublasStatus_t cublasSetMathMode(H, cublasMath_t);
cublasStatus_t cublasGetMathMode(H, cublasMath_t*);
#define FAKE_REAL(S, I, T)                                               \
  cublasStatus_t cublas##I##amax(H, int n, T* x, int incx, int* result); \
  cublasStatus_t cublas##I##amin(H, int n, T* x, int incx, int* result); \
  cublasStatus_t cublas##S##asum(H, int n, T* x, int incx, T* result);   \
  cublasStatus_t cublas##S##nrm2(H, int n, T* x, int incx, T* result);   \
  cublasStatus_t cublas##S##dot(H, int n, T* x, int incx, T* y, int incy, T* result);
#define FAKE_ANY(S, T)                                                                                              \
  cublasStatus_t cublas##S##axpy(H, int n, T* alpha, T* x, int incx, T* y, int incy);                               \
  cublasStatus_t cublas##S##scal(H, int n, T* alpha, T* x, int incx);                                               \
  cublasStatus_t cublas##S##gemv(H, OP t, int m, int n, T* alpha, T* A, int lda, T* x, int incx, T* beta, T* y,     \
                                 int incy);                                                                         \
  cublasStatus_t cublas##S##gemm(H, OP ta, OP tb, int m, int n, int k, T* alpha, T* A, int lda, T* B, int ldb,      \
                                 T* beta, T* C, int ldc);                                                           \
  cublasStatus_t cublas##S##gemmBatched(H, OP ta, OP tb, int m, int n, int k, const T* alpha, const T** A, int lda, \
                                        const T** B, int ldb, const T* beta, T** C, int ldc, int batch);            \
  cublasStatus_t cublas##S##gemmStridedBatched(H, OP ta, OP tb, int m, int n, int k, const T* alpha, const T* A,    \
                                               int lda, long long sa, const T* B, int ldb, long long sb,            \
                                               const T* beta, T* C, int ldc, long long sc, int batch);              \
  cublasStatus_t cublas##S##geam(H, OP ta, OP tb, int m, int n, const T* alpha, const T* A, int lda, const T* beta, \
                                 const T* B, int ldb, T* C, int ldc);                                               \
  cublasStatus_t cublas##S##dgmm(H, cublasSideMode_t side, int m, int n, const T* A, int lda, const T* x, int incx, \
                                 T* C, int ldc);
FAKE_REAL(S, Is, float)
FAKE_REAL(D, Id, double)
FAKE_ANY(S, float)
FAKE_ANY(D, double)
FAKE_ANY(C, cuComplex)
FAKE_ANY(Z, cuDoubleComplex)
cublasStatus_t cublasSger(H, int m, int n, float* alpha, float* x, int incx, float* y, int incy, float* A, int lda);
cublasStatus_t cublasDger(H, int m, int n, double* alpha, double* x, int incx, double* y, int incy, double* A, int lda);
cublasStatus_t cublasSgemmEx(H, OP ta, OP tb, int m, int n, int k, const float* alpha, const void* A, cudaDataType At,
                             int lda, const void* B, cudaDataType Bt, int ldb, const float* beta, void* C,
                             cudaDataType Ct, int ldc);
cublasStatus_t cublasGemmEx_v11(H, OP ta, OP tb, int m, int n, int k, const void* alpha, const void* A, cudaDataType At,
                                int lda, const void* B, cudaDataType Bt, int ldb, const void* beta, void* C,
                                cudaDataType Ct, int ldc, cublasComputeType_t compute, cublasGemmAlgo_t algo);
cublasStatus_t cublasGemmStridedBatchedEx_v11(H, OP ta, OP tb, int m, int n, int k, const void* alpha, const void* A,
                                              cudaDataType At, int lda, long long sa, const void* B, cudaDataType Bt,
                                              int ldb, long long sb, const void* beta, void* C, cudaDataType Ct,
                                              int ldc, long long sc, int batch, cublasComputeType_t compute,
                                              cublasGemmAlgo_t algo);
int fake_missing(const char* function);  // says on stderr that libfakecuda has no such function; gives 15
}
#undef H
#undef OP
#undef FAKE_REAL
#undef FAKE_ANY
