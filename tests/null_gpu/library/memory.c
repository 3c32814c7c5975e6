// Memory: address space that is reserved and counted. A page takes memory of the host once something is copied to it.
#define _GNU_SOURCE
#include "null_gpu.h"

#include <cuda_runtime_api.h>
#include <nccl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MOST_DEVICES = 64, PAGE = 4096, GRANULE = 2 << 20, LARGE = 1 << 20 };

struct block {
  char* start;
  size_t size;
  int device;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct block* blocks;
static size_t block_count, block_room;
static size_t used[MOST_DEVICES];

static uintptr_t round_up(uintptr_t value, uintptr_t multiple) { return (value + multiple - 1) / multiple * multiple; }

static void remember(char* start, size_t size, int device) {
  if (block_count == block_room) {
    block_room = block_room ? 2 * block_room : 1024;
    blocks = realloc(blocks, block_room * sizeof *blocks);
  }
  blocks[block_count++] = (struct block){start, size, device};
  used[device] += size;
}

// At a multiple of a granule, of which more than the size is mapped first.
static char* map(size_t size) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  char* at = mmap(NULL, size + GRANULE, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (at == MAP_FAILED) return NULL;
  char* start = (char*)round_up((uintptr_t)at, GRANULE);
  if (start > at) munmap(at, start - at);
  munmap(start + size, at + GRANULE - start);
  return start;
}

int null_reserve(void** start, size_t size) {
  *start = NULL;
  if (!size) return 0;
  int device = null_current_device();
  size_t whole = round_up(size, GRANULE);
  pthread_mutex_lock(&lock);
  if (used[device] + whole <= null_device_memory()) *start = map(whole);
  if (*start) remember(*start, whole, device);
  pthread_mutex_unlock(&lock);
  return *start == NULL;
}

void null_release(void* start) {
  pthread_mutex_lock(&lock);
  for (size_t i = 0; start && i < block_count; i++) {
    if (blocks[i].start == start) {
      munmap(start, blocks[i].size);
      used[blocks[i].device] -= blocks[i].size;
      blocks[i] = blocks[--block_count];
      break;
    }
  }
  pthread_mutex_unlock(&lock);
}

int null_device_of(const void* address) {
  int device = -1;
  pthread_mutex_lock(&lock);
  for (size_t i = 0; i < block_count; i++) {
    if ((const char*)address >= blocks[i].start && (const char*)address < blocks[i].start + blocks[i].size) {
      device = blocks[i].device;
      break;
    }
  }
  pthread_mutex_unlock(&lock);
  return device;
}

void null_copy(void* to, const void* from, size_t size) {
  if (size && to != from && size <= null_largest_copy()) memmove(to, from, size);
}

// Zeros are not written to whole pages: given back, they read as zeros.
void null_fill(void* at, int byte, size_t size) {
  if (byte || size < LARGE) {
    memset(at, byte, size);
    return;
  }
  char *end = (char*)at + size, *first = (char*)round_up((uintptr_t)at, PAGE);
  char* last = (char*)((uintptr_t)end / PAGE * PAGE);
  memset(at, 0, first - (char*)at);
  memset(last, 0, end - last);
  madvise(first, last - first, MADV_DONTNEED);
}

static cudaError_t allocate(void** start, size_t size) {
  return null_reserve(start, size) ? cudaErrorMemoryAllocation : cudaSuccess;
}

cudaError_t cudaMalloc(void** start, size_t size) { return allocate(start, size); }

cudaError_t cudaMallocAsync(void** start, size_t size, cudaStream_t stream) { return allocate(start, size); }

cudaError_t cudaFree(void* start) {
  null_release(start);
  return cudaSuccess;
}

cudaError_t cudaFreeAsync(void* start, cudaStream_t stream) { return cudaFree(start); }

ncclResult_t ncclMemAlloc(void** start, size_t size) {
  return null_reserve(start, size) ? ncclUnhandledCudaError : ncclSuccess;
}

ncclResult_t ncclMemFree(void* start) {
  null_release(start);
  return ncclSuccess;
}

cudaError_t cudaHostAlloc(void** start, size_t size, unsigned flags) {
  return posix_memalign(start, PAGE, size ? size : 1) ? cudaErrorMemoryAllocation : cudaSuccess;
}

cudaError_t cudaMallocHost(void** start, size_t size) { return cudaHostAlloc(start, size, 0); }

cudaError_t cudaFreeHost(void* start) {
  free(start);
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* available, size_t* total) {
  *total = null_device_memory();
  *available = *total - used[null_current_device()];
  return cudaSuccess;
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int device) {
  *pool = null_fresh_handle();
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t size, enum cudaMemcpyKind kind) {
  null_copy(to, from, size);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(
    void* to, const void* from, size_t size, enum cudaMemcpyKind kind, cudaStream_t stream) {
  null_copy(to, from, size);
  return cudaSuccess;
}

cudaError_t cudaMemcpyPeerAsync(
    void* to, int to_device, const void* from, int from_device, size_t size, cudaStream_t stream) {
  null_copy(to, from, size);
  return cudaSuccess;
}

cudaError_t cudaMemset(void* at, int byte, size_t size) {
  null_fill(at, byte, size);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* at, int byte, size_t size, cudaStream_t stream) {
  null_fill(at, byte, size);
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes* attributes, const void* address) {
  int device = null_device_of(address);
  memset(attributes, 0, sizeof *attributes);
  attributes->type = device >= 0 ? cudaMemoryTypeDevice : cudaMemoryTypeUnregistered;
  attributes->device = device >= 0 ? device : 0;
  attributes->devicePointer = (void*)address;
  if (device < 0) attributes->hostPointer = (void*)address;
  return cudaSuccess;
}

// Constants of kernels: all of them have one place, and nothing reads it.
cudaError_t cudaGetSymbolAddress(void** address, const void* symbol) {
  static char room[1 << 16];
  *address = room;
  return cudaSuccess;
}
