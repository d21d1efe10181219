// The runtime's functions: errors and devices.
extern "C" {

const char* cudaGetErrorName(cudaError_t error) { return entry(error)->runtime; }
const char* cudaGetErrorString(cudaError_t error) { return entry(error)->text; }
cudaError_t cudaGetLastError() {
  cudaError_t error = sticky ? sticky : last_error;
  last_error = cudaSuccess;
  return error;
}
cudaError_t cudaPeekAtLastError() { return sticky ? sticky : last_error; }
cudaError_t cudaDriverGetVersion(int* version) { return *version = 12090, cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int* version) { return *version = 12090, cudaSuccess; }
cudaError_t cudaProfilerStart() { return cudaSuccess; }
cudaError_t cudaProfilerStop() { return cudaSuccess; }

cudaError_t cudaGetDeviceCount(int* count) {
  *count = DEVICES;
  return DEVICES > 0 ? cudaSuccess : give(cudaErrorNoDevice);
}
cudaError_t cudaGetDevice(int* device) {
  ENTER;
  return *device = current_device, cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  ENTER;
  if (device < 0 || device >= DEVICES) return give(cudaErrorInvalidDevice);
  return current_device = device, cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  ENTER;
  drain_all();
  count_bytes("wait for the device", 0, 0);
  return give(sticky);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device) {
  ENTER;
  if (device < 0 || device >= DEVICES) return give(cudaErrorInvalidDevice);
  memset(p, 0, sizeof *p);
  snprintf(p->name, sizeof p->name, "CPU pretending to be sm_%d", ARCH);
  p->totalGlobalMem = TOTAL;
  p->sharedMemPerBlock = 48 << 10;
  p->sharedMemPerBlockOptin = OPTIN;
  p->sharedMemPerMultiprocessor = OPTIN + 1024;
  p->reservedSharedMemPerBlock = ARCH >= 80 ? 1024 : 0;
  p->regsPerBlock = p->regsPerMultiprocessor = 65536;
  p->warpSize = 32;
  p->memPitch = 2147483647;
  p->maxThreadsPerBlock = p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
  p->maxThreadsDim[2] = 64;
  p->maxGridSize[0] = 2147483647;
  p->maxGridSize[1] = p->maxGridSize[2] = 65535;
  p->clockRate = 1755000;
  p->memoryClockRate = 2619000;
  p->memoryBusWidth = 5120;
  p->totalConstMem = 65536;
  p->major = ARCH / 10;
  p->minor = ARCH % 10;
  p->textureAlignment = 512;
  p->texturePitchAlignment = 32;
  p->multiProcessorCount = ARCH >= 90 ? 132 : 108;
  p->canMapHostMemory = p->concurrentKernels = p->unifiedAddressing = p->managedMemory = 1;
  p->l2CacheSize = 50 << 20;
  p->maxThreadsPerMultiProcessor = PER_SM_THREADS;
  p->maxBlocksPerMultiProcessor = ARCH == 80 || ARCH >= 90 ? 32 : 16;
  p->streamPrioritiesSupported = p->globalL1CacheSupported = p->localL1CacheSupported = 1;
  p->asyncEngineCount = 3;
  p->cooperativeLaunch = p->computePreemptionSupported = 1;
  p->pciBusID = 1 + device;
  p->singleToDoublePrecisionPerfRatio = 2;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp p;
  if (cudaError_t error = cudaGetDeviceProperties(&p, device)) return error;
  switch ((int)attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = p.maxThreadsPerBlock; break;
    case cudaDevAttrMaxBlockDimX: *value = p.maxThreadsDim[0]; break;
    case cudaDevAttrMaxBlockDimY: *value = p.maxThreadsDim[1]; break;
    case cudaDevAttrMaxBlockDimZ: *value = p.maxThreadsDim[2]; break;
    case cudaDevAttrMaxGridDimX: *value = p.maxGridSize[0]; break;
    case cudaDevAttrMaxGridDimY: *value = p.maxGridSize[1]; break;
    case cudaDevAttrMaxGridDimZ: *value = p.maxGridSize[2]; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = p.sharedMemPerBlock; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = p.sharedMemPerBlockOptin; break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = p.sharedMemPerMultiprocessor; break;
    case cudaDevAttrReservedSharedMemoryPerBlock: *value = p.reservedSharedMemPerBlock; break;
    case cudaDevAttrTotalConstantMemory: *value = p.totalConstMem; break;
    case cudaDevAttrWarpSize: *value = p.warpSize; break;
    case cudaDevAttrMaxPitch: *value = p.memPitch; break;
    case cudaDevAttrMaxRegistersPerBlock: *value = p.regsPerBlock; break;
    case cudaDevAttrMaxRegistersPerMultiprocessor: *value = p.regsPerMultiprocessor; break;
    case cudaDevAttrClockRate: *value = p.clockRate; break;
    case cudaDevAttrMemoryClockRate: *value = p.memoryClockRate; break;
    case cudaDevAttrGlobalMemoryBusWidth: *value = p.memoryBusWidth; break;
    case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = p.maxThreadsPerMultiProcessor; break;
    case cudaDevAttrMaxBlocksPerMultiprocessor: *value = p.maxBlocksPerMultiProcessor; break;
    case cudaDevAttrL2CacheSize: *value = p.l2CacheSize; break;
    case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
    case cudaDevAttrUnifiedAddressing:
    case cudaDevAttrManagedMemory:
    case cudaDevAttrConcurrentKernels:
    case cudaDevAttrCanMapHostMemory:
    case cudaDevAttrCooperativeLaunch:
    case cudaDevAttrStreamPrioritiesSupported:
    case cudaDevAttrMemoryPoolsSupported: *value = 1; break;
    case cudaDevAttrPciBusId: *value = p.pciBusID; break;
    case cudaDevAttrTextureAlignment: *value = p.textureAlignment; break;
    case cudaDevAttrAsyncEngineCount: *value = p.asyncEngineCount; break;
    default: *value = 0;
  }
  return cudaSuccess;
}
cudaError_t cudaDeviceGetPCIBusId(char* id, int length, int device) {
  snprintf(id, length, "0000:%02X:00.0", 1 + device);
  return cudaSuccess;
}
cudaError_t cudaDeviceGetByPCIBusId(int* device, const char* id) {
  unsigned domain, bus;
  if (sscanf(id, "%x:%x", &domain, &bus) != 2 || (int)bus > DEVICES || !bus) return give(cudaErrorInvalidDevice);
  return *device = bus - 1, cudaSuccess;
}
cudaError_t cudaDeviceCanAccessPeer(int* can, int, int) { return *can = 0, cudaSuccess; }
cudaError_t cudaDeviceEnablePeerAccess(int, unsigned) { return give(cudaErrorPeerAccessUnsupported); }
cudaError_t cudaDeviceDisablePeerAccess(int) { return give(cudaErrorPeerAccessUnsupported); }
cudaError_t cudaDeviceGetLimit(size_t* value, cudaLimit limit) {
  return *value = limit == cudaLimitMallocHeapSize ? 8 << 20 : 1024, cudaSuccess;
}
cudaError_t cudaDeviceSetLimit(cudaLimit, size_t) { return cudaSuccess; }

}  // extern "C"
