// What the environment says.
#include "null_gpu.h"

#include <stdint.h>
#include <stdlib.h>

static size_t number(const char* name, size_t otherwise) {
  const char* text = getenv(name);
  return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

int null_device_count(void) { return (int)number("NULL_GPU_DEVICES", 8); }

size_t null_device_memory(void) { return number("NULL_GPU_MEMORY", 85029158912ull); }

size_t null_largest_copy(void) {
  static size_t largest;
  if (!largest) largest = number("NULL_GPU_LARGEST_COPY", SIZE_MAX);
  return largest;
}
