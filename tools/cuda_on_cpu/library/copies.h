// The runtime's functions: memory and copies.
extern "C" {

cudaError_t cudaMalloc(void** pointer, size_t size) {
  ENTER;
  return give(allocate(pointer, size, DEVICE));
}
cudaError_t cudaMallocManaged(void** pointer, size_t size, unsigned) {
  ENTER;
  return give(allocate(pointer, size, MANAGED));
}
cudaError_t cudaMallocAsync(void** pointer, size_t size, cudaStream_t) {
  ENTER;
  return give(allocate(pointer, size, DEVICE));
}
cudaError_t cudaMallocFromPoolAsync(void** pointer, size_t size, cudaMemPool_t, cudaStream_t) {
  ENTER;
  return give(allocate(pointer, size, DEVICE));
}
cudaError_t cudaFree(void* pointer) {
  ENTER;
  drain_all();  // as CUDA does
  return give(release(pointer, false));
}
cudaError_t cudaFreeAsync(void* pointer, cudaStream_t handle) {
  ENTER;
  CUstream_st* stream = stream_of(handle);
  if (!stream) return give(cudaErrorInvalidResourceHandle);
  enqueue(stream, [=] { release(pointer, false); });
  return cudaSuccess;
}
cudaError_t cudaHostAlloc(void** pointer, size_t size, unsigned) {
  ENTER;
  return give(allocate(pointer, size, PINNED));
}
cudaError_t cudaFreeHost(void* pointer) {
  ENTER;
  drain_all();
  return give(release(pointer, true));
}
cudaError_t cudaHostRegister(void* pointer, size_t size, unsigned) {
  ENTER;
  blocks[(uintptr_t)pointer] = Block{(char*)pointer, size, size, REGISTERED, current_device};
  return cudaSuccess;
}
cudaError_t cudaHostUnregister(void* pointer) {
  ENTER;
  auto found = blocks.find((uintptr_t)pointer);
  if (found == blocks.end() || found->second.kind != REGISTERED) return give(cudaErrorInvalidValue);
  blocks.erase(found);
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  ENTER;
  *total = TOTAL;
  *free = TOTAL - used;
  return cudaSuccess;
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* a, const void* pointer) {
  ENTER;
  memset(a, 0, sizeof *a);
  Block* block = block_of(pointer);
  a->device = block ? block->device : -2;
  if (!block) return cudaSuccess;
  a->type = block->kind == DEVICE    ? cudaMemoryTypeDevice
            : block->kind == MANAGED ? cudaMemoryTypeManaged
                                     : cudaMemoryTypeHost;
  a->devicePointer = (void*)pointer;
  a->hostPointer = block->kind == DEVICE ? nullptr : (void*)pointer;
  return cudaSuccess;
}

static cudaError_t check_copy(const void* to, const void* from, size_t size, cudaMemcpyKind kind, const char* who) {
  if (!size) return cudaSuccess;
  if (!to || !from) return say("%s: a null pointer", who), cudaErrorInvalidValue;
  bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice ||
                   (kind == cudaMemcpyDefault && on_device(to));
  bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice ||
                     (kind == cudaMemcpyDefault && on_device(from));
  if (to_device ? !inside(to, size, who, "the destination")
                : on_device(to) && (say("%s: the destination is on the GPU, the direction says host", who), true))
    return cudaErrorInvalidValue;
  if (from_device ? !inside(from, size, who, "the source")
                  : on_device(from) && (say("%s: the source is on the GPU, the direction says host", who), true))
    return cudaErrorInvalidValue;
  return cudaSuccess;
}
static void move(void* to, const void* from, size_t size) {
  if (!DRY) memmove(to, from, size);
}
static bool pageable(const void* pointer) {
  Block* block = block_of(pointer);
  return !block;
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t size, cudaMemcpyKind kind) {
  ENTER;
  if (cudaError_t error = check_copy(to, from, size, kind, "cudaMemcpy")) return give(error);
  drain(&legacy);
  if (!sticky) move(to, from, size), count_copy(to, from, size);
  return give(sticky);
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind kind, cudaStream_t handle) {
  ENTER;
  CUstream_st* stream = stream_of(handle);
  if (!stream) return give(cudaErrorInvalidResourceHandle);
  if (cudaError_t error = check_copy(to, from, size, kind, "cudaMemcpyAsync")) return give(error);
  count_copy(to, from, size);
  if (LAZY && pageable(from)) {  // CUDA has a copy of pageable memory before it returns
    std::vector<char> staged((const char*)from, (const char*)from + size);
    enqueue(stream, [=, staged = std::move(staged)] { move(to, staged.data(), size); });
  } else {
    enqueue(stream, [=] { move(to, from, size); });
  }
  if (LAZY && pageable(to)) drain(stream);
  return give(sticky);
}
cudaError_t cudaMemcpyPeer(void* to, int, const void* from, int, size_t size) {
  return cudaMemcpy(to, from, size, cudaMemcpyDeviceToDevice);
}
cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t size, cudaStream_t stream) {
  return cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToDevice, stream);
}
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t handle) {
  ENTER;
  CUstream_st* stream = stream_of(handle);
  if (!stream) return give(cudaErrorInvalidResourceHandle);
  if (width > to_pitch || width > from_pitch) return give(cudaErrorInvalidValue);
  for (size_t row = 0; row < height; row++)
    if (cudaError_t error =
            check_copy((char*)to + row * to_pitch, (char*)from + row * from_pitch, width, kind, "cudaMemcpy2D"))
      return give(error);
  count_copy(to, from, width * height);
  enqueue(stream, [=] {
    for (size_t row = 0; row < height; row++)
      move((char*)to + row * to_pitch, (char*)from + row * from_pitch, width);
  });
  if (LAZY && (pageable(to) || pageable(from))) drain(stream);
  return give(sticky);
}
cudaError_t cudaMemcpy2D(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width, size_t height,
                         cudaMemcpyKind kind) {
  cudaError_t error = cudaMemcpy2DAsync(to, to_pitch, from, from_pitch, width, height, kind, nullptr);
  return error ? error : cudaDeviceSynchronize();
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t size, cudaStream_t handle) {
  ENTER;
  CUstream_st* stream = stream_of(handle);
  if (!stream) return give(cudaErrorInvalidResourceHandle);
  if (size && !inside(to, size, "cudaMemset", "the destination")) return give(cudaErrorInvalidValue);
  count_bytes("memset", 0, size);
  enqueue(stream, [=] {
    if (!DRY) memset(to, value, size);
  });
  return give(sticky);
}
cudaError_t cudaMemset(void* to, int value, size_t size) { return cudaMemsetAsync(to, value, size, nullptr); }
cudaError_t cudaMemAdvise(const void*, size_t, cudaMemoryAdvise, int) { return cudaSuccess; }
cudaError_t cudaMemPrefetchAsync(const void*, size_t, int, cudaStream_t) { return cudaSuccess; }

// Memory pools: one, which keeps nothing
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int) { return *pool = (cudaMemPool_t)0x10, cudaSuccess; }
cudaError_t cudaDeviceGetMemPool(cudaMemPool_t* pool, int) { return *pool = (cudaMemPool_t)0x10, cudaSuccess; }
cudaError_t cudaDeviceSetMemPool(int, cudaMemPool_t) { return cudaSuccess; }
cudaError_t cudaMemPoolCreate(cudaMemPool_t*, const cudaMemPoolProps*) { return give(cudaErrorNotSupported); }
cudaError_t cudaMemPoolDestroy(cudaMemPool_t) { return give(cudaErrorNotSupported); }
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) { return cudaSuccess; }
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, cudaMemPoolAttr attribute, void* value) {
  if ((int)attribute <= 3) *(int*)value = 0;
  else *(uint64_t*)value = used;
  return cudaSuccess;
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) { return cudaSuccess; }

}  // extern "C"
