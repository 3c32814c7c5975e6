// What the runtime says of an H100 SXM, from NVIDIA's published figures; nothing here was read off a card.
#include "null_gpu.h"

#include <cuda_runtime_api.h>
#include <stdio.h>
#include <string.h>

enum {
  MAJOR = 9,
  MINOR = 0,
  MULTIPROCESSORS = 132,
  WARP = 32,
  THREADS_PER_BLOCK = 1024,
  THREADS_PER_MULTIPROCESSOR = 2048,
  BLOCKS_PER_MULTIPROCESSOR = 32,
  REGISTERS = 65536,
  SHARED_MEMORY = 49152,
  SHARED_MEMORY_OPTIN = 232448,
  SHARED_MEMORY_PER_MULTIPROCESSOR = 233472,
  SHARED_MEMORY_RESERVED = 1024,
  L2_CACHE = 52428800,
  LARGEST_GRID = 2147483647,
  LARGEST_GRID_YZ = 65535,
  BUS_WIDTH = 5120,
  FIRST_PCI_BUS = 0x1b,
  LARGEST_CLUSTER = 8,
  ACTIVE_CLUSTERS = 16,
  HIGHEST_STREAM_PRIORITY = -5,
};

cudaError_t cudaGetDeviceCount(int* count) {
  *count = null_device_count();
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = NULL_GPU_CUDA_VERSION;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = NULL_GPU_CUDA_VERSION;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp* p, int device) {
  memset(p, 0, sizeof *p);
  strcpy(p->name, NULL_GPU_NAME);
  p->uuid.bytes[0] = 1 + device;
  p->pciBusID = FIRST_PCI_BUS + device;
  p->major = MAJOR;
  p->minor = MINOR;
  p->totalGlobalMem = null_device_memory();
  p->multiProcessorCount = MULTIPROCESSORS;
  p->warpSize = WARP;
  p->maxThreadsPerBlock = THREADS_PER_BLOCK;
  p->maxThreadsPerMultiProcessor = THREADS_PER_MULTIPROCESSOR;
  p->maxBlocksPerMultiProcessor = BLOCKS_PER_MULTIPROCESSOR;
  p->regsPerBlock = p->regsPerMultiprocessor = REGISTERS;
  p->sharedMemPerBlock = SHARED_MEMORY;
  p->sharedMemPerBlockOptin = SHARED_MEMORY_OPTIN;
  p->sharedMemPerMultiprocessor = SHARED_MEMORY_PER_MULTIPROCESSOR;
  p->reservedSharedMemPerBlock = SHARED_MEMORY_RESERVED;
  p->l2CacheSize = L2_CACHE;
  p->totalConstMem = 65536;
  p->memPitch = LARGEST_GRID;
  p->textureAlignment = 512;
  p->maxThreadsDim[0] = p->maxThreadsDim[1] = THREADS_PER_BLOCK;
  p->maxThreadsDim[2] = 64;
  p->maxGridSize[0] = LARGEST_GRID;
  p->maxGridSize[1] = p->maxGridSize[2] = LARGEST_GRID_YZ;
  p->memoryBusWidth = BUS_WIDTH;
  p->asyncEngineCount = 3;
  p->concurrentKernels = p->unifiedAddressing = p->managedMemory = 1;
  p->cooperativeLaunch = p->clusterLaunch = p->streamPrioritiesSupported = 1;
  return cudaSuccess;
}

int null_device_attribute(int attribute) {
  switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor: return MAJOR;
    case cudaDevAttrComputeCapabilityMinor: return MINOR;
    case cudaDevAttrMultiProcessorCount: return MULTIPROCESSORS;
    case cudaDevAttrWarpSize: return WARP;
    case cudaDevAttrMaxThreadsPerBlock:
    case cudaDevAttrMaxBlockDimX:
    case cudaDevAttrMaxBlockDimY: return THREADS_PER_BLOCK;
    case cudaDevAttrMaxBlockDimZ: return 64;
    case cudaDevAttrMaxGridDimX: return LARGEST_GRID;
    case cudaDevAttrMaxGridDimY:
    case cudaDevAttrMaxGridDimZ: return LARGEST_GRID_YZ;
    case cudaDevAttrMaxThreadsPerMultiProcessor: return THREADS_PER_MULTIPROCESSOR;
    case cudaDevAttrMaxBlocksPerMultiprocessor: return BLOCKS_PER_MULTIPROCESSOR;
    case cudaDevAttrMaxRegistersPerBlock:
    case cudaDevAttrMaxRegistersPerMultiprocessor: return REGISTERS;
    case cudaDevAttrMaxSharedMemoryPerBlock: return SHARED_MEMORY;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: return SHARED_MEMORY_OPTIN;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: return SHARED_MEMORY_PER_MULTIPROCESSOR;
    case cudaDevAttrReservedSharedMemoryPerBlock: return SHARED_MEMORY_RESERVED;
    case cudaDevAttrL2CacheSize: return L2_CACHE;
    case cudaDevAttrClockRate: return 1980000;
    case cudaDevAttrMemoryClockRate: return 2619000;
    case cudaDevAttrGlobalMemoryBusWidth: return BUS_WIDTH;
    case cudaDevAttrCooperativeLaunch:
    case cudaDevAttrConcurrentKernels:
    case cudaDevAttrUnifiedAddressing:
    case cudaDevAttrCanMapHostMemory:
    case cudaDevAttrStreamPrioritiesSupported:
    case cudaDevAttrManagedMemory: return 1;
    default: return 0;
  }
}

cudaError_t cudaDeviceGetAttribute(int* value, enum cudaDeviceAttr attribute, int device) {
  *value = null_device_attribute(attribute);
  return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char* text, int size, int device) {
  snprintf(text, size, "0000:%02x:00.0", FIRST_PCI_BUS + device);
  return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int* can, int one, int other) {
  *can = one != other;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* lowest, int* highest) {
  *lowest = 0;
  *highest = HIGHEST_STREAM_PRIORITY;
  return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    int* blocks, const void* kernel, int threads, size_t shared_memory, unsigned flags) {
  *blocks = threads > 0 && threads < THREADS_PER_MULTIPROCESSOR ? THREADS_PER_MULTIPROCESSOR / threads : 1;
  return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveClusters(int* clusters, const void* kernel, const cudaLaunchConfig_t* launch) {
  *clusters = ACTIVE_CLUSTERS;
  return cudaSuccess;
}

cudaError_t cudaOccupancyMaxPotentialClusterSize(int* size, const void* kernel, const cudaLaunchConfig_t* launch) {
  *size = LARGEST_CLUSTER;
  return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes* attributes, const void* kernel) {
  memset(attributes, 0, sizeof *attributes);
  attributes->maxThreadsPerBlock = THREADS_PER_BLOCK;
  attributes->numRegs = 32;
  attributes->ptxVersion = attributes->binaryVersion = 10 * MAJOR + MINOR;
  attributes->maxDynamicSharedSizeBytes = SHARED_MEMORY_OPTIN;
  return cudaSuccess;
}

const char* cudaGetErrorName(cudaError_t error) {
  if (error == cudaErrorMemoryAllocation) return "cudaErrorMemoryAllocation";
  return error ? "cudaErrorOfNullGPU" : "cudaSuccess";
}

const char* cudaGetErrorString(cudaError_t error) {
  if (error == cudaErrorMemoryAllocation) return "out of memory";
  return error ? "error of the null GPU" : "no error";
}
