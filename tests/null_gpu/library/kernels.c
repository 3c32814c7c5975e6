// Kernels: nvcc's code registers each by name before main, and launches it by the address that it was registered under.
#include "null_gpu.h"

#include <cuda_runtime_api.h>
#include <pthread.h>
#include <stdlib.h>

enum { DEEPEST = 16 };

struct kernel {
  const void* handle;
  const char* name;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct kernel* kernels;
static size_t kernel_count, kernel_room;
static int is_sorted;

void null_register_kernel(const void* handle, const char* name) {
  pthread_mutex_lock(&lock);
  if (kernel_count == kernel_room) {
    kernel_room = kernel_room ? 2 * kernel_room : 65536;
    kernels = realloc(kernels, kernel_room * sizeof *kernels);
  }
  kernels[kernel_count++] = (struct kernel){handle, name};
  is_sorted = 0;
  pthread_mutex_unlock(&lock);
}

static int compare(const void* one, const void* other) {
  const char *a = ((const struct kernel*)one)->handle, *b = ((const struct kernel*)other)->handle;
  return (a > b) - (a < b);
}

void null_launch(const void* handle) {
  if (!null_is_traced()) return;
  pthread_mutex_lock(&lock);
  if (!is_sorted) qsort(kernels, kernel_count, sizeof *kernels, compare);
  is_sorted = 1;
  struct kernel key = {handle, NULL};
  struct kernel* found = bsearch(&key, kernels, kernel_count, sizeof *kernels, compare);
  const char* name = found ? found->name : "?";
  pthread_mutex_unlock(&lock);
  null_trace_kernel(name);
}

void** __cudaRegisterFatBinary(void* binary) {
  static void* handle[4];
  return handle;
}

void __cudaRegisterFatBinaryEnd(void** binary) {}

void __cudaUnregisterFatBinary(void** binary) {}

void __cudaRegisterVar(
    void** binary, char* host, char* device, const char* name, int external, size_t size, int constant, int global) {}

void __cudaRegisterFunction(
    void** binary,
    const char* host,
    char* device,
    const char* name,
    int thread_limit,
    void* thread,
    void* block,
    void* block_dimensions,
    void* grid_dimensions,
    int* warp_size) {
  null_register_kernel(host, name);
}

// kernel<<<grid, block, shared, stream>>>(...) pushes its configuration, and a stub of the compiler's pops it.
struct configuration {
  dim3 grid, block;
  size_t shared_memory;
  void* stream;
};
static _Thread_local struct configuration pushed[DEEPEST];
static _Thread_local int depth;

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared_memory, struct CUstream_st* stream) {
  if (depth == DEEPEST) return 1;
  pushed[depth++] = (struct configuration){grid, block, shared_memory, stream};
  return 0;
}

cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared_memory, void* stream) {
  if (!depth) return cudaErrorUnknown;
  struct configuration popped = pushed[--depth];
  *grid = popped.grid;
  *block = popped.block;
  *shared_memory = popped.shared_memory;
  *(void**)stream = popped.stream;
  return cudaSuccess;
}

cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
  *kernel = (cudaKernel_t)function;
  return cudaSuccess;
}

cudaError_t cudaGetKernel(cudaKernel_t* kernel, const void* function) { return __cudaGetKernel(kernel, function); }

static cudaError_t launched(const void* kernel) {
  null_launch(kernel);
  return cudaSuccess;
}

cudaError_t __cudaLaunchKernel(
    cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments, size_t shared_memory, cudaStream_t stream) {
  return launched(kernel);
}

cudaError_t __cudaLaunchKernel_ptsz(
    cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments, size_t shared_memory, cudaStream_t stream) {
  return launched(kernel);
}

cudaError_t cudaLaunchKernel(
    const void* kernel, dim3 grid, dim3 block, void** arguments, size_t shared_memory, cudaStream_t stream) {
  return launched(kernel);
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* launch, const void* kernel, void** arguments) {
  return launched(kernel);
}

cudaError_t cudaLaunchCooperativeKernel(
    const void* kernel, dim3 grid, dim3 block, void** arguments, size_t shared_memory, cudaStream_t stream) {
  return launched(kernel);
}

// The host's functions are run, at once.
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* argument) {
  function(argument);
  return cudaSuccess;
}

cudaError_t cudaStreamAddCallback(
    cudaStream_t stream, cudaStreamCallback_t function, void* argument, unsigned flags) {
  function(stream, cudaSuccess, argument);
  return cudaSuccess;
}
