// Handles, and each thread's device.
#include "null_gpu.h"

#include <cuda_runtime_api.h>
#include <stdatomic.h>

static _Thread_local int current_device;

void* null_fresh_handle(void) {
  static atomic_size_t next = 0x10000;
  return (void*)atomic_fetch_add(&next, 16);
}

int null_current_device(void) { return current_device; }

cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= null_device_count()) return cudaErrorInvalidDevice;
  current_device = device;
  return cudaSuccess;
}
