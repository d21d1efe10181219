// What CuPy names and nobody needs here: an error that names it.
extern "C" {

// What CuPy names and nobody here needs
#define MISSING(name, ...) \
  cudaError_t name(__VA_ARGS__) { return fake_missing(#name), give(cudaErrorNotSupported); }
MISSING(cudaStreamBeginCapture, cudaStream_t, cudaStreamCaptureMode)
MISSING(cudaStreamEndCapture, cudaStream_t, cudaGraph_t*)
MISSING(cudaGraphDestroy, cudaGraph_t)
MISSING(cudaGraphExecDestroy, cudaGraphExec_t)
MISSING(cudaGraphInstantiate, cudaGraphExec_t*, cudaGraph_t, unsigned long long)
MISSING(cudaGraphLaunch, cudaGraphExec_t, cudaStream_t)
MISSING(cudaGraphUpload, cudaGraphExec_t, cudaStream_t)
MISSING(cudaGraphDebugDotPrint, cudaGraph_t, const char*, unsigned)
MISSING(cudaIpcCloseMemHandle, void*)
MISSING(cudaIpcGetEventHandle, cudaIpcEventHandle_t*, cudaEvent_t)
MISSING(cudaIpcGetMemHandle, cudaIpcMemHandle_t*, void*)
MISSING(cudaIpcOpenEventHandle, cudaEvent_t*, cudaIpcEventHandle_t)
MISSING(cudaIpcOpenMemHandle, void**, cudaIpcMemHandle_t, unsigned)
MISSING(cudaMalloc3DArray, cudaArray_t*, const cudaChannelFormatDesc*, cudaExtent, unsigned)
MISSING(cudaMallocArray, cudaArray_t*, const cudaChannelFormatDesc*, size_t, size_t, unsigned)
MISSING(cudaFreeArray, cudaArray_t)
MISSING(cudaMemcpy2DFromArray, void*, size_t, cudaArray_const_t, size_t, size_t, size_t, size_t, cudaMemcpyKind)
MISSING(cudaMemcpy2DFromArrayAsync, void*, size_t, cudaArray_const_t, size_t, size_t, size_t, size_t, cudaMemcpyKind,
        cudaStream_t)
MISSING(cudaMemcpy2DToArray, cudaArray_t, size_t, size_t, const void*, size_t, size_t, size_t, cudaMemcpyKind)
MISSING(cudaMemcpy2DToArrayAsync, cudaArray_t, size_t, size_t, const void*, size_t, size_t, size_t, cudaMemcpyKind,
        cudaStream_t)
MISSING(cudaMemcpy3D, const cudaMemcpy3DParms*)
MISSING(cudaMemcpy3DAsync, const cudaMemcpy3DParms*, cudaStream_t)
MISSING(cudaCreateTextureObject, cudaTextureObject_t*, const cudaResourceDesc*, const cudaTextureDesc*,
        const cudaResourceViewDesc*)
MISSING(cudaDestroyTextureObject, cudaTextureObject_t)
MISSING(cudaGetChannelDesc, cudaChannelFormatDesc*, cudaArray_const_t)
MISSING(cudaGetTextureObjectResourceDesc, cudaResourceDesc*, cudaTextureObject_t)
MISSING(cudaGetTextureObjectTextureDesc, cudaTextureDesc*, cudaTextureObject_t)
MISSING(cudaCreateSurfaceObject, cudaSurfaceObject_t*, const cudaResourceDesc*)
MISSING(cudaDestroySurfaceObject, cudaSurfaceObject_t)

int fake_missing(const char* function) {
  say("%s is not there", function);
  return CUBLAS_STATUS_NOT_SUPPORTED;
}

}  // extern "C"
