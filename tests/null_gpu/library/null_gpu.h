// A GPU that computes nothing: CUDA's runtime and driver, cuBLAS, cuDNN's graph API and NCCL, answering as H100s would.
//
// Preloaded before a CUDA build of torch and a real Transformer Engine on a machine without a driver. Allocations
// reserve address space and are counted, copies are made, kernels are noted by name and not run. What no source here
// defines, of all that those two import, succeeds and does nothing: see tests/null_gpu/build_library.py.
//
// Environment:
//   NULL_GPU_DEVICES       how many there are (8)
//   NULL_GPU_MEMORY        bytes of each (85029158912, of an H100 with 80 GB)
//   NULL_GPU_LARGEST_COPY  bytes; copies of more are not made, so that a large model needs no memory of the host
//   NULL_GPU_TRACE         file, with the process's number behind it, for a line of JSON a matrix product and collective,
//                          and one a kernel when the process ends
#pragma once

#include <stddef.h>

// Names of these sources are not seen outside the library.
#pragma GCC visibility push(hidden)

// settings.c
int null_device_count(void);
size_t null_device_memory(void);
size_t null_largest_copy(void);

// identity.c: handles that are never the same, and the device that a thread has set
void* null_fresh_handle(void);
int null_current_device(void);

// device.c
#define NULL_GPU_NAME "NVIDIA H100 80GB HBM3"
#define NULL_GPU_CUDA_VERSION 13000
// Both APIs number these alike.
int null_device_attribute(int attribute);

// memory.c
// Returns 0, or 1 if the device is full.
int null_reserve(void** start, size_t size);
void null_release(void* start);
// The device whose memory an address is in; -1 of the host's.
int null_device_of(const void* address);
void null_copy(void* to, const void* from, size_t size);
void null_fill(void* at, int byte, size_t size);

// kernels.c
void null_register_kernel(const void* handle, const char* name);
void null_launch(const void* handle);

// trace.c
struct null_product {
  const char* by;
  int a_type, b_type, d_type;  // cudaDataType
  long m, n, k, batch;
  int transposes_a, transposes_b, epilogue, accumulates;
  const char* scales;
};
int null_is_traced(void);
void null_trace_kernel(const char* name);
void null_trace_product(const struct null_product* product);
void null_trace_collective(const char* name, size_t bytes);

// lookup.c: a function of this library, by name; one that succeeds where there is none
void* null_entry_point(const char* name);

#pragma GCC visibility pop
