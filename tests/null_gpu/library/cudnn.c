// cuDNN's graph API: every graph has one plan, which needs no workspace. The version is the real library's to say.
#include "null_gpu.h"

#include <cudnn.h>
#include <stdlib.h>
#include <string.h>

struct descriptor {
  cudnnBackendDescriptorType_t type;
};

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  *handle = null_fresh_handle();
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) { return CUDNN_STATUS_SUCCESS; }

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) { return CUDNN_STATUS_SUCCESS; }

cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t* stream) {
  *stream = NULL;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t* made) {
  struct descriptor* descriptor = malloc(sizeof *descriptor);
  descriptor->type = type;
  *made = descriptor;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  free(descriptor);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendInitialize(cudnnBackendDescriptor_t descriptor) { return CUDNN_STATUS_SUCCESS; }

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) { return CUDNN_STATUS_SUCCESS; }

cudnnStatus_t cudnnBackendSetAttribute(
    cudnnBackendDescriptor_t descriptor,
    cudnnBackendAttributeName_t name,
    cudnnBackendAttributeType_t type,
    int64_t count,
    const void* values) {
  return CUDNN_STATUS_SUCCESS;
}

static int64_t count_of(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type) {
  switch (name) {
    case CUDNN_ATTR_ENGINEHEUR_RESULTS:
    case CUDNN_ATTR_ENGINECFG_ENGINE:
    case CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG:
    case CUDNN_ATTR_OPERATIONGRAPH_ENGINE_GLOBAL_COUNT: return 1;
    default: return type == CUDNN_TYPE_INT64 || type == CUDNN_TYPE_INT32;
  }
}

// One engine of everything, and 0 of every number.
cudnnStatus_t cudnnBackendGetAttribute(
    const cudnnBackendDescriptor_t descriptor,
    cudnnBackendAttributeName_t name,
    cudnnBackendAttributeType_t type,
    int64_t asked,
    int64_t* count,
    void* values) {
  if (count) *count = count_of(name, type);
  if (!asked || !values) return CUDNN_STATUS_SUCCESS;
  if (name == CUDNN_ATTR_OPERATIONGRAPH_ENGINE_GLOBAL_COUNT) {
    *(int64_t*)values = 1;
  } else if (type == CUDNN_TYPE_INT64) {
    memset(values, 0, sizeof(int64_t));
  } else if (type == CUDNN_TYPE_INT32) {
    memset(values, 0, sizeof(int32_t));
  }
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendExecute(
    cudnnHandle_t handle, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t variant) {
  null_trace_kernel("cudnnBackendExecute");
  return CUDNN_STATUS_SUCCESS;
}

const char* cudnnGetErrorString(cudnnStatus_t status) {
  return status ? "error of the null GPU's cuDNN" : "success";
}

void cudnnGetLastErrorString(char* text, size_t size) {
  if (size) *text = 0;
}
