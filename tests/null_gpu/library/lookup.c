// Whoever looks one of these functions up, in a library that he opened himself, finds it here.
#define _GNU_SOURCE
#include "null_gpu.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "names.h"  // generated: all that is defined here, in strcmp's order

static int is_ours(const char* name) {
  size_t low = 0, high = sizeof names / sizeof *names;
  while (low < high) {
    size_t middle = (low + high) / 2;
    int order = strcmp(name, names[middle]);
    if (!order) return 1;
    if (order < 0) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return 0;
}

static void* this_library(void) {
  static void* opened;
  Dl_info info;
  if (!opened && dladdr((void*)is_ours, &info)) opened = dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD);
  return opened;
}

void* dlsym(void* library, const char* name) {
  static void* (*real)(void*, const char*);
  if (!real) real = (void* (*)(void*, const char*))dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
  void* found = is_ours(name) ? real(this_library(), name) : NULL;
  return found ? found : real(library, name);
}

static int succeed(void) { return 0; }

void* null_entry_point(const char* name) {
  char versioned[256];
  void* found = dlsym(RTLD_DEFAULT, name);
  if (!found) {
    snprintf(versioned, sizeof versioned, "%s_v2", name);
    found = dlsym(RTLD_DEFAULT, versioned);
  }
  return found ? found : (void*)succeed;
}

cudaError_t cudaGetDriverEntryPoint(
    const char* name, void** function, unsigned long long flags, enum cudaDriverEntryPointQueryResult* found) {
  *function = null_entry_point(name);
  if (found) *found = cudaDriverEntryPointSuccess;
  return cudaSuccess;
}

cudaError_t cudaGetDriverEntryPointByVersion(
    const char* name,
    void** function,
    unsigned version,
    unsigned long long flags,
    enum cudaDriverEntryPointQueryResult* found) {
  return cudaGetDriverEntryPoint(name, function, flags, found);
}
