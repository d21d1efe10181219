// The runtime's functions: streams and events.
extern "C" {

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* out, unsigned flags, int priority) {
  ENTER;
  *out = new CUstream_st;
  (*out)->flags = flags;
  (*out)->priority = priority;
  streams.insert(*out);
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* out, unsigned flags) {
  return cudaStreamCreateWithPriority(out, flags, 0);
}
cudaError_t cudaStreamCreate(cudaStream_t* out) { return cudaStreamCreateWithPriority(out, 0, 0); }
cudaError_t cudaStreamGetFlags(cudaStream_t handle, unsigned* flags) {
  ENTER;
  CUstream_st* stream = stream_of(handle);
  return stream ? (*flags = stream->flags, cudaSuccess) : give(cudaErrorInvalidResourceHandle);
}
cudaError_t cudaStreamGetPriority(cudaStream_t handle, int* priority) {
  ENTER;
  CUstream_st* stream = stream_of(handle);
  return stream ? (*priority = stream->priority, cudaSuccess) : give(cudaErrorInvalidResourceHandle);
}
cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  ENTER;
  if (!streams.count(handle)) return give(cudaErrorInvalidResourceHandle);
  streams.erase(handle);
  if (!handle->queue.empty()) gone.insert(handle);  // CUDA does not wait here: what is queued runs later
  return cudaSuccess;                               // never deleted, as events may know it
}
cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  ENTER;
  CUstream_st* stream = stream_of(handle);
  if (!stream) return give(cudaErrorInvalidResourceHandle);
  drain(stream);
  count_bytes("wait for the device", 0, 0);
  return give(sticky);
}
cudaError_t cudaStreamQuery(cudaStream_t handle) {
  ENTER;
  CUstream_st* stream = stream_of(handle);
  if (!stream) return give(cudaErrorInvalidResourceHandle);
  if (idle(stream)) return cudaSuccess;
  run_until(stream, stream->queue.front().number);  // so that asking again and again comes to an end
  return cudaErrorNotReady;
}
cudaError_t cudaLaunchHostFunc(cudaStream_t handle, cudaHostFn_t function, void* data) {
  ENTER;
  CUstream_st* stream = stream_of(handle);
  if (!stream) return give(cudaErrorInvalidResourceHandle);
  enqueue(stream, [=] { function(data); });
  return cudaSuccess;
}
cudaError_t cudaStreamAddCallback(cudaStream_t handle, cudaStreamCallback_t function, void* data, unsigned) {
  ENTER;
  CUstream_st* stream = stream_of(handle);
  if (!stream) return give(cudaErrorInvalidResourceHandle);
  enqueue(stream, [=] { function(handle, cudaSuccess, data); });
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* out, unsigned flags) {
  ENTER;
  *out = new CUevent_st;
  (*out)->flags = flags;
  events.insert(*out);
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* out) { return cudaEventCreateWithFlags(out, 0); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  ENTER;
  if (!events.erase(event)) return give(cudaErrorInvalidResourceHandle);
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
  ENTER;
  CUstream_st* stream = stream_of(handle);
  if (!stream || !events.count(event)) return give(cudaErrorInvalidResourceHandle);
  auto record = std::make_shared<Record>(Record{stream, 0});
  event->record = record;
  record->number = enqueue(stream, [record] { record->done = true, record->time = seconds(); });
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  ENTER;
  CUstream_st* stream = stream_of(handle);
  if (!stream || !events.count(event)) return give(cudaErrorInvalidResourceHandle);
  if (auto record = event->record)
    enqueue(stream, [record] {
      if (!record->done) run_until(record->stream, record->number);
    });
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  ENTER;
  if (!events.count(event)) return give(cudaErrorInvalidResourceHandle);
  if (event->record && !event->record->done) run_until(event->record->stream, event->record->number);
  return give(sticky);
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  ENTER;
  if (!events.count(event)) return give(cudaErrorInvalidResourceHandle);
  if (!event->record || event->record->done) return cudaSuccess;
  run_until(event->record->stream, event->record->number);
  return cudaErrorNotReady;
}
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t a, cudaEvent_t b) {
  ENTER;
  if (!events.count(a) || !events.count(b) || !a->record || !b->record ||
      ((a->flags | b->flags) & cudaEventDisableTiming))
    return give(cudaErrorInvalidResourceHandle);
  if (!a->record->done || !b->record->done) return give(cudaErrorNotReady);
  *ms = (float)((b->record->time - a->record->time) * 1e3);
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  return *status = cudaStreamCaptureStatusNone, cudaSuccess;
}

}  // extern "C"
