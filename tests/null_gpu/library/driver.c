// The driver's API, as torch, Triton and Transformer Engine ask it.
#include "null_gpu.h"

#include <cuda.h>
#include <stdio.h>
#include <string.h>

enum { FIRST_CONTEXT = 0x100 };

static CUcontext context_of(int device) { return (CUcontext)(size_t)(FIRST_CONTEXT + device); }

CUresult cuDriverGetVersion(int* version) {
  *version = NULL_GPU_CUDA_VERSION;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int* count) {
  *count = null_device_count();
  return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice* device, int number) {
  *device = number;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char* name, int size, CUdevice device) {
  snprintf(name, size, "%s", NULL_GPU_NAME);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
  *value = null_device_attribute((int)attribute);
  return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice device) {
  *bytes = null_device_memory();
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  *context = context_of(device);
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned* flags, int* is_active) {
  *flags = 0;
  *is_active = 1;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext* context) {
  *context = context_of(null_current_device());
  return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice* device) {
  *device = null_current_device();
  return CUDA_SUCCESS;
}

CUresult cuModuleLoadData(CUmodule* module, const void* image) {
  *module = null_fresh_handle();
  return CUDA_SUCCESS;
}

CUresult cuModuleLoadDataEx(
    CUmodule* module, const void* image, unsigned count, CUjit_option* options, void** values) {
  return cuModuleLoadData(module, image);
}

CUresult cuLibraryLoadData(
    CUlibrary* library,
    const void* code,
    CUjit_option* jit_options,
    void** jit_values,
    unsigned jit_count,
    CUlibraryOption* options,
    void** values,
    unsigned count) {
  *library = null_fresh_handle();
  return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
  *function = null_fresh_handle();
  null_register_kernel(*function, strdup(name));
  return CUDA_SUCCESS;
}

CUresult cuLibraryGetKernel(CUkernel* kernel, CUlibrary library, const char* name) {
  return cuModuleGetFunction((CUfunction*)kernel, NULL, name);
}

CUresult cuLibraryGetModule(CUmodule* module, CUlibrary library) {
  *module = (CUmodule)library;
  return CUDA_SUCCESS;
}

CUresult cuKernelGetFunction(CUfunction* function, CUkernel kernel) {
  *function = (CUfunction)kernel;
  return CUDA_SUCCESS;
}

CUresult cuFuncGetAttribute(int* value, CUfunction_attribute attribute, CUfunction function) {
  *value = 0;
  if (attribute == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK) *value = 1024;
  if (attribute == CU_FUNC_ATTRIBUTE_NUM_REGS) *value = 32;
  return CUDA_SUCCESS;
}

CUresult cuLaunchKernel(
    CUfunction function,
    unsigned grid_x,
    unsigned grid_y,
    unsigned grid_z,
    unsigned block_x,
    unsigned block_y,
    unsigned block_z,
    unsigned shared_memory,
    CUstream stream,
    void** arguments,
    void** more) {
  null_launch(function);
  return CUDA_SUCCESS;
}

CUresult cuLaunchKernelEx(const CUlaunchConfig* launch, CUfunction function, void** arguments, void** more) {
  null_launch(function);
  return CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult error, const char** text) {
  *text = "error of the null GPU's driver";
  return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char** text) {
  *text = "CUDA_ERROR_OF_NULL_GPU";
  return CUDA_SUCCESS;
}

CUresult cuPointerGetAttribute(void* value, CUpointer_attribute attribute, CUdeviceptr address) {
  int device = null_device_of((void*)address);
  switch (attribute) {
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER: *(CUdeviceptr*)value = address; break;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: *(int*)value = device < 0 ? 0 : device; break;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
      *(unsigned*)value = device < 0 ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
      break;
    default: *(int*)value = 0;
  }
  return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxActiveClusters(int* clusters, CUfunction function, const CUlaunchConfig* launch) {
  *clusters = 16;
  return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(
    int* blocks, CUfunction function, int threads, size_t shared_memory) {
  *blocks = 2;
  return CUDA_SUCCESS;
}

// A table of functions that are in no header: nothing to give.
CUresult cuGetExportTable(const void** table, const CUuuid* id) {
  *table = NULL;
  return CUDA_ERROR_NOT_SUPPORTED;
}

CUresult cuGetProcAddress_v2(
    const char* name, void** function, int version, cuuint64_t flags, CUdriverProcAddressQueryResult* found) {
  *function = null_entry_point(name);
  if (found) *found = CU_GET_PROC_ADDRESS_SUCCESS;
  return CUDA_SUCCESS;
}
