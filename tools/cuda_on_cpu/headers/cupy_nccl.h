// NCCL as far as libfakecuda has it: ranks are processes of one machine that share memory.
#pragma once
#include "cupy_cuda_common.h"
#define NCCL_MAJOR 2
#define NCCL_MINOR 13
#define NCCL_PATCH 4
extern "C" {
typedef struct ncclComm* ncclComm_t;
enum { NCCL_UNIQUE_ID_BYTES = 128 };
typedef struct {
  char internal[NCCL_UNIQUE_ID_BYTES];
} ncclUniqueId;
typedef enum {
  ncclSuccess,
  ncclUnhandledCudaError,
  ncclSystemError,
  ncclInternalError,
  ncclInvalidArgument,
  ncclInvalidUsage
} ncclResult_t;
typedef enum : int { ncclSum } ncclRedOp_t;
typedef enum : int { ncclFloat32 = 7, ncclFloat64 = 8 } ncclDataType_t;
const char* ncclGetErrorString(ncclResult_t);
ncclResult_t ncclGetVersion(int*);
ncclResult_t ncclGetUniqueId(ncclUniqueId*);
ncclResult_t ncclCommInitRank(ncclComm_t*, int, ncclUniqueId, int);
void ncclCommDestroy(ncclComm_t);
ncclResult_t ncclCommUserRank(const ncclComm_t, int*);
ncclResult_t ncclCommCount(const ncclComm_t, int*);
ncclResult_t ncclAllReduce(const void*, void*, size_t, ncclDataType_t, ncclRedOp_t, ncclComm_t, cudaStream_t);
ncclResult_t ncclBroadcast(const void*, void*, size_t, ncclDataType_t, int, ncclComm_t, cudaStream_t);
int fake_missing(const char*);
#ifndef FAKE_CUDA
#define FAKE_NOT(name) \
  static ncclResult_t name(...) { return fake_missing(#name), ncclInvalidUsage; }
FAKE_NOT(ncclCommGetAsyncError)
FAKE_NOT(ncclCommInitAll) FAKE_NOT(ncclGroupStart) FAKE_NOT(ncclGroupEnd) FAKE_NOT(ncclCommAbort)
    FAKE_NOT(ncclCommCuDevice) FAKE_NOT(ncclReduce) FAKE_NOT(ncclBcast) FAKE_NOT(ncclReduceScatter)
        FAKE_NOT(ncclAllGather) FAKE_NOT(ncclSend) FAKE_NOT(ncclRecv)
#endif
}
