// The driver's functions: kernels and their launches.

// A kernel that touches memory that is not mapped ends as on a GPU: with an error from then on.
static thread_local sigjmp_buf way_out;
static thread_local volatile sig_atomic_t in_kernel = 0;
static thread_local void* bad_address;
static struct sigaction other_segv, other_bus, other_fpe;
static void on_fault(int number, siginfo_t* info, void* context) {
  if (in_kernel) {
    in_kernel = 0;
    bad_address = info->si_addr;
    siglongjmp(way_out, number);
  }
  struct sigaction& other = number == SIGSEGV ? other_segv : number == SIGBUS ? other_bus : other_fpe;
  if (other.sa_flags & SA_SIGINFO) other.sa_sigaction(number, info, context);
  else signal(number, SIG_DFL), raise(number);
}

static void run_kernel(CUfunc_st* f, const unsigned (&size)[7], void** parameters) {
  Tally& t = tally[f->name];
  t.launches++;
  t.threads = std::max(t.threads, size[3] * size[4] * size[5]);
  t.shared = std::max(t.shared, f->static_shared + size[6]);
  if (DRY) return;
  static bool installed = [] {
    struct sigaction action{};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &action, &other_segv);
    sigaction(SIGBUS, &action, &other_bus);
    sigaction(SIGFPE, &action, &other_fpe);
    return true;
  }();
  (void)installed;
  double start = seconds();
  if (int number = sigsetjmp(way_out, 1)) {
    say("the kernel %s, grid (%u, %u, %u), block (%u, %u, %u), touched memory that is not the GPU's, at %p (signal %d)",
        f->name.c_str(), size[0], size[1], size[2], size[3], size[4], size[5], bad_address, number);
    auto near = blocks.upper_bound((uintptr_t)bad_address);
    if (near != blocks.begin()) {
      --near;
      say("    that is %zd bytes past the start of an allocation of %zu bytes",
          (ptrdiff_t)((uintptr_t)bad_address - near->first), near->second.size);
    }
    sticky = cudaErrorIllegalAddress;
    return;
  }
  in_kernel = 1;
  int failed =
      f->module->launch(f->name.c_str(), size[0], size[1], size[2], size[3], size[4], size[5], size[6], parameters);
  in_kernel = 0;
  if (failed) {
    say("the kernel %s, grid (%u, %u, %u), block (%u, %u, %u), failed: %s", f->name.c_str(), size[0], size[1], size[2],
        size[3], size[4], size[5], f->module->error ? f->module->error() : "?");
    sticky = cudaErrorLaunchFailure;
  }
  t.seconds += seconds() - start;
  unsigned long long counts[8];
  if (f->module->counts && f->module->counts(counts))
    for (int i = 0; i < 8; i++) t.counts[i] += counts[i];
}

extern "C" {

CUresult cuGetErrorName(CUresult error, const char** name) { return *name = entry(error)->driver, CUDA_SUCCESS; }
CUresult cuGetErrorString(CUresult error, const char** text) { return *text = entry(error)->text, CUDA_SUCCESS; }
// NVRTC looks for a driver and, were there one, for a secret table in it; without cuInit it goes on alone
CUresult cuInit(unsigned) { return CUDA_ERROR_NO_DEVICE; }
CUresult cuGetExportTable(const void** table, const CUuuid*) { return *table = nullptr, CUDA_ERROR_NOT_FOUND; }
CUresult cuDevicePrimaryCtxRelease(CUdevice) { return CUDA_SUCCESS; }
CUresult cuCtxGetCurrent(CUcontext* context) { return *context = (CUcontext)0x1000, CUDA_SUCCESS; }
CUresult cuCtxSetCurrent(CUcontext) { return CUDA_SUCCESS; }
CUresult cuCtxCreate(CUcontext* context, unsigned, CUdevice) { return *context = (CUcontext)0x1000, CUDA_SUCCESS; }
CUresult cuCtxDestroy(CUcontext) { return CUDA_SUCCESS; }
CUresult cuCtxGetDevice(CUdevice* device) { return *device = current_device, CUDA_SUCCESS; }
CUresult cuStreamGetCtx(CUstream, CUcontext* context) { return *context = (CUcontext)0x1000, CUDA_SUCCESS; }
CUresult cuLinkCreate(unsigned, CUjit_option*, void**, CUlinkState*) {
  return fake_missing(__func__), CUDA_ERROR_NOT_SUPPORTED;
}
CUresult cuLinkAddData(CUlinkState, CUjitInputType, void*, size_t, const char*, unsigned, CUjit_option*, void**) {
  return CUDA_ERROR_NOT_SUPPORTED;
}
CUresult cuLinkAddFile(CUlinkState, CUjitInputType, const char*, unsigned, CUjit_option*, void**) {
  return CUDA_ERROR_NOT_SUPPORTED;
}
CUresult cuLinkComplete(CUlinkState, void**, size_t*) { return CUDA_ERROR_NOT_SUPPORTED; }
CUresult cuLinkDestroy(CUlinkState) { return CUDA_ERROR_NOT_SUPPORTED; }

CUresult cuModuleLoadData(CUmodule* module, const void* image) {
  DRIVER_ENTER;
  return load(module, (const char*)image);
}
CUresult cuModuleLoad(CUmodule* module, const char* path) {
  DRIVER_ENTER;
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return file ? load(module, text.str().c_str()) : CUDA_ERROR_FILE_NOT_FOUND;
}
CUresult cuModuleUnload(CUmodule module) {  // its library stays, as work that was queued may still need it
  (void)module;
  return CUDA_SUCCESS;
}
CUresult cuModuleGetFunction(CUfunction* out, CUmodule module, const char* name) {
  DRIVER_ENTER;
  if (!module->has(name)) {
    say("a module has no kernel %s", name);
    return CUDA_ERROR_NOT_FOUND;
  }
  auto [found, fresh] = module->functions.try_emplace(name);
  CUfunc_st* f = &found->second;
  if (fresh) {
    f->module = module;
    f->name = name;
    f->sizes = module->parameters[name];
    f->static_shared = module->attribute(name, 0);
    f->registers = module->registers.count(name) ? module->registers[name] : 0;
    f->spilled = module->spilled.count(name) ? module->spilled[name] : 0;
    if (module->most_threads.count(name)) f->most_threads = std::min(1024, module->most_threads[name]);
    if (f->registers)  // registers come by warps, 8 a thread at a time
      f->most_threads = std::min(f->most_threads, 65536 / ((f->registers + 7) / 8 * 8 * 32) * 32);
    f->most_dynamic = (48 << 10) - f->static_shared;
    if (f->spilled) TELL("%s spills %d bytes", name, f->spilled);
  }
  *out = f;
  return CUDA_SUCCESS;
}
CUresult cuModuleGetGlobal(CUdeviceptr* pointer, size_t* bytes, CUmodule module, const char* name) {
  DRIVER_ENTER;
  unsigned long long size = 0;
  void* place = module->global(name, &size);
  if (!place) return CUDA_ERROR_NOT_FOUND;
  *pointer = (CUdeviceptr)place;
  if (bytes) *bytes = size;
  if (!blocks.count((uintptr_t)place))
    blocks[(uintptr_t)place] = Block{(char*)place, 0, (size_t)size, MANAGED, current_device};
  return CUDA_SUCCESS;
}
CUresult cuFuncGetAttribute(int* value, CUfunction_attribute attribute, CUfunction f) {
  DRIVER_ENTER;
  switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = f->most_threads; break;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: *value = f->static_shared; break;
    case CU_FUNC_ATTRIBUTE_NUM_REGS: *value = f->registers ? f->registers : 32; break;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES: *value = f->spilled; break;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION: *value = ARCH; break;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: *value = f->most_dynamic; break;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT: *value = -1; break;
    default: *value = 0;
  }
  return CUDA_SUCCESS;
}
CUresult cuFuncSetAttribute(CUfunction f, CUfunction_attribute attribute, int value) {
  DRIVER_ENTER;
  if (attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) {
    if (value < 0 || (size_t)value + f->static_shared > OPTIN) {
      say("%s: %d bytes of dynamic and %d of static shared memory are more than %zu", f->name.c_str(), value,
          f->static_shared, OPTIN);
      return CUDA_ERROR_INVALID_VALUE;
    }
    f->most_dynamic = value;
  }
  return CUDA_SUCCESS;
}

static int blocks_per_multiprocessor(CUfunc_st* f, int threads, size_t shared) {
  if (threads < 1 || threads > f->most_threads) return 0;
  int warps = (threads + 31) / 32, most = std::min(ARCH == 80 || ARCH >= 90 ? 32 : 16, PER_SM_THREADS / (warps * 32));
  most = std::min<int>(most, (OPTIN + 1024) / (f->static_shared + shared + (ARCH >= 80 ? 1024 : 0) + 1));
  if (f->registers) most = std::min(most, 65536 / ((f->registers + 7) / 8 * 8 * 32) / warps);
  return most;
}
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* count, CUfunction f, int threads, size_t shared) {
  DRIVER_ENTER;
  return *count = blocks_per_multiprocessor(f, threads, shared), CUDA_SUCCESS;
}
CUresult cuOccupancyMaxPotentialBlockSize(int* grid, int* threads, CUfunction f, CUoccupancyB2DSize, size_t shared,
                                          int limit) {
  DRIVER_ENTER;
  int best = 0;
  *threads = 32;
  for (int t = 32; t <= std::min(f->most_threads, limit ? limit : 1024); t += 32) {
    int active = t * blocks_per_multiprocessor(f, t, shared);
    if (active >= best) best = active, *threads = t;
  }
  *grid = 132 * blocks_per_multiprocessor(f, *threads, shared);
  return CUDA_SUCCESS;
}

// Called by our CuPy before a launch: the number of arguments, and the size of each that is passed by value, else -1.
int fake_check_args(void* function, int n, const int* sizes) {
  CUfunc_st* f = (CUfunc_st*)function;
  int wrong = 0;
  if (n != (int)f->sizes.size())
    say("%s has %zu parameters and was given %d arguments", f->name.c_str(), f->sizes.size(), n), wrong = 1;
  for (int i = 0; i < n && !wrong; i++)
    if (sizes[i] >= 0 && sizes[i] != f->sizes[i])
      say("%s: parameter %d has %d bytes and was given %d", f->name.c_str(), i, f->sizes[i], sizes[i]), wrong = 1;
  return wrong;
}

CUresult cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                        unsigned shared, CUstream handle, void** parameters, void** extra) {
  DRIVER_ENTER;
  const char* name = f->name.c_str();
  TELL("launch %s (%u, %u, %u) x (%u, %u, %u), %u bytes shared", name, gx, gy, gz, bx, by, bz, shared);
  CUstream_st* stream = stream_of((cudaStream_t)handle);
  if (!stream) return CUDA_ERROR_INVALID_HANDLE;
  if (extra) return fake_missing("cuLaunchKernel with extra"), CUDA_ERROR_NOT_SUPPORTED;
  unsigned long threads = (unsigned long)bx * by * bz;
  if (!gx || !gy || !gz || gx > 2147483647u || gy > 65535 || gz > 65535) {
    say("%s: a grid of (%u, %u, %u) is not allowed", name, gx, gy, gz);
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (!threads || bx > 1024 || by > 1024 || bz > 64 || threads > 1024) {
    say("%s: a block of (%u, %u, %u) threads is not allowed", name, bx, by, bz);
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (threads > (unsigned long)f->most_threads) {
    say("%s: %lu threads in a block, at most %d (%d registers each)", name, threads, f->most_threads, f->registers);
    return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
  }
  if ((int)shared > f->most_dynamic) {
    say("%s: %u bytes of dynamic shared memory, at most %d were asked for", name, shared, f->most_dynamic);
    return CUDA_ERROR_INVALID_VALUE;
  }
  const unsigned size[7] = {gx, gy, gz, bx, by, bz, shared};
  if (!LAZY) {
    run_kernel(f, size, parameters);
    // An asynchronous failure is told by the next call that waits, on a GPU; here by the next call of any kind
    return CUDA_SUCCESS;
  }
  size_t total = 0;
  for (int one : f->sizes) total += (one + 15) / 16 * 16;
  auto held = std::make_shared<std::vector<char>>(total + 16);
  auto places = std::make_shared<std::vector<void*>>();
  size_t at = (16 - (uintptr_t)held->data() % 16) % 16;
  for (size_t i = 0; i < f->sizes.size(); i++) {
    memcpy(held->data() + at, parameters[i], f->sizes[i]);
    places->push_back(held->data() + at);
    at += (f->sizes[i] + 15) / 16 * 16;
  }
  enqueue(stream, [=] {
    const unsigned again[7] = {gx, gy, gz, bx, by, bz, shared};
    run_kernel(f, again, places->data());
    (void)held;
  });
  return CUDA_SUCCESS;
}
CUresult cuLaunchCooperativeKernel(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                                   CUstream, void**) {
  return fake_missing(__func__), CUDA_ERROR_NOT_SUPPORTED;
}

}  // extern "C"
