// Settings, messages and errors.

#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cxxabi.h>
#include <dlfcn.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

static const char* setting(const char* name, const char* otherwise) {
  const char* value = getenv(name);
  return value && *value ? value : otherwise;
}
static bool on(const char* name) { return strcmp(setting(name, "0"), "0") != 0; }
static const bool TRACE = on("FAKE_CUDA_TRACE"), STATS = on("FAKE_CUDA_STATS"), LAZY = on("FAKE_CUDA_LAZY"),
                  FENCE = on("FAKE_CUDA_FENCE"), RACES = on("FAKE_CUDA_RACES"), COUNTS = on("FAKE_CUDA_COUNTS"), DRY = on("FAKE_CUDA_DRY");
static const int ARCH = atoi(setting("FAKE_CUDA_ARCH", "90")), DEVICES = atoi(setting("FAKE_CUDA_DEVICES", "1"));
static const size_t TOTAL = (size_t)(atof(setting("FAKE_CUDA_MEMORY", "8")) * (1 << 30));
static const size_t OPTIN = ARCH >= 90 ? 232448 : ARCH == 80 || ARCH == 87 ? 166912 : ARCH >= 86 ? 101376 : 65536;
static const int PER_SM_THREADS = ARCH == 75 ? 1024 : ARCH == 86 || ARCH == 89 ? 1536 : 2048;

__attribute__((format(printf, 1, 2))) static void say(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("fakecuda: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
}
#define TELL(...)                \
  do {                           \
    if (TRACE) say(__VA_ARGS__); \
  } while (0)

static std::recursive_mutex lock;
static thread_local cudaError_t last_error = cudaSuccess;
static cudaError_t sticky = cudaSuccess;  // after a kernel failed nothing works any more, as on a GPU
static thread_local int current_device = 0;

static cudaError_t give(cudaError_t error) {
  if (error) last_error = error;
  return error;
}
#define ENTER                                        \
  std::lock_guard<std::recursive_mutex> guard(lock); \
  TELL("%s", __func__);                              \
  if (sticky) return give(sticky);                   \
  if (DEVICES < 1) return give(cudaErrorNoDevice)
#define DRIVER_ENTER                                 \
  std::lock_guard<std::recursive_mutex> guard(lock); \
  TELL("%s", __func__);                              \
  if (sticky) return (CUresult)sticky;               \
  if (DEVICES < 1) return CUDA_ERROR_NO_DEVICE

// The numbers are those of the runtime and, but for few, of the driver: {number, runtime's name, driver's name, text}
static const struct {
  int code;
  const char *runtime, *driver, *text;
} ERRORS[] = {
    {0, "cudaSuccess", "CUDA_SUCCESS", "no error"},
    {1, "cudaErrorInvalidValue", "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {2, "cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {3, "cudaErrorInitializationError", "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {9, "cudaErrorInvalidConfiguration", "CUDA_ERROR_INVALID_VALUE", "invalid configuration argument"},
    {21, "cudaErrorInvalidMemcpyDirection", "CUDA_ERROR_INVALID_VALUE", "invalid copy direction for memcpy"},
    {35, "cudaErrorInsufficientDriver", "CUDA_ERROR_STUB_LIBRARY",
     "driver version is insufficient for runtime version"},
    {100, "cudaErrorNoDevice", "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {101, "cudaErrorInvalidDevice", "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {200, "cudaErrorInvalidKernelImage", "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {209, "cudaErrorNoKernelImageForDevice", "CUDA_ERROR_NO_BINARY_FOR_GPU",
     "no kernel image is available for execution on the device"},
    {217, "cudaErrorPeerAccessUnsupported", "CUDA_ERROR_PEER_ACCESS_UNSUPPORTED",
     "peer access is not supported between these two devices"},
    {218, "cudaErrorInvalidPtx", "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {400, "cudaErrorInvalidResourceHandle", "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {500, "cudaErrorSymbolNotFound", "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {600, "cudaErrorNotReady", "CUDA_ERROR_NOT_READY", "device not ready"},
    {700, "cudaErrorIllegalAddress", "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {701, "cudaErrorLaunchOutOfResources", "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
     "too many resources requested for launch"},
    {719, "cudaErrorLaunchFailure", "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {801, "cudaErrorNotSupported", "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {999, "cudaErrorUnknown", "CUDA_ERROR_UNKNOWN", "unknown error"},
};
static auto* entry(int code) {
  for (auto& e : ERRORS)
    if (e.code == code) return &e;
  return &ERRORS[sizeof ERRORS / sizeof *ERRORS - 1];
}

static double seconds() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}
