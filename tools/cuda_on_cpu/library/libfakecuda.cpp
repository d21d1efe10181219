// libfakecuda: enough of the CUDA runtime, the CUDA driver, cuBLAS and NCCL to run CuPy on a machine without a GPU.
//
// Device memory is host memory; a kernel is PTX that NVRTC made, translated to C++ by translate.py, compiled, loaded
// and run on the calling thread at its launch. What a real GPU would refuse or silently get wrong is refused or
// reported: pointers outside of allocations, launches beyond the limits, shared memory that was not asked for,
// arguments of the wrong number or size, leading dimensions that are too small, reading what nobody wrote (it is NaN).
//
// Environment:
//   FAKE_CUDA_MEMORY=8      GiB of the GPU (a fraction will do)
//   FAKE_CUDA_ARCH=90       75, 80, 86, 89 or 90
//   FAKE_CUDA_DEVICES=1     how many GPUs there are; 0 is none. All share the memory
//   FAKE_CUDA_FENCE=1       every allocation ends at a page that may not be touched, and freed memory may not be either
//   FAKE_CUDA_LAZY=1        work is queued and runs when somebody waits for it, as late as CUDA's rules allow
//   FAKE_CUDA_RACES=1       two accesses to one address, of which one writes, with no barrier in between, are a failure
//   FAKE_CUDA_ORDER=0       threads take their turns forward, 1: backward, 2: shuffled anew each time
//   FAKE_CUDA_COUNTS=1      kernels count bytes, operations and conflicts; fake_cuda_counts (counts.h) writes them
//   FAKE_CUDA_DRY=1         nothing is computed or copied, and memory is only reserved: what would be launched is counted
//   FAKE_CUDA_PTXAS=FILE    NVIDIA's assembler: kernels then have their true number of registers
//   FAKE_CUDA_TRANSLATOR=FILE, FAKE_CUDA_PYTHON=FILE, FAKE_CUDA_CACHE=FOLDER: translate.py, what runs it, what it made
//   FAKE_CUDA_TRACE=1       every call on stderr;  FAKE_CUDA_STATS=1 a summary at the end
#include "../headers/fake_cublas.h"

#include "messages.h"
#include "memory.h"
#include "streams.h"
#include "counts.h"
#include "devices.h"
#include "copies.h"
#include "missing.h"
#include "stream_calls.h"
#include "modules.h"
#include "launches.h"
#include "gemm.h"
#include "blas.h"
#include "nccl.h"
