// cuBLASLt: products are noted, and FP8 operands refused that an H100 refuses.
#include "null_gpu.h"

#include <cublasLt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct layout {
  cudaDataType type;
  unsigned long rows, columns;
  long leading;
  int batch;
};

struct operation {
  cudaDataType scale_type;
  int transposes_a, transposes_b, epilogue, fast_accumulation;
  int a_scale_mode, b_scale_mode;
  void *a_scale, *b_scale, *d_scale;
};

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = null_fresh_handle();
  return CUBLAS_STATUS_SUCCESS;
}

size_t cublasLtGetVersion(void) { return 130100; }

cublasStatus_t cublasLtMatrixLayoutCreate(
    cublasLtMatrixLayout_t* made, cudaDataType type, uint64_t rows, uint64_t columns, int64_t leading) {
  struct layout* layout = malloc(sizeof *layout);
  *layout = (struct layout){type, rows, columns, leading, 1};
  *made = (cublasLtMatrixLayout_t)layout;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  free(layout);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(
    cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t attribute, const void* value, size_t size) {
  if (attribute == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT) ((struct layout*)layout)->batch = *(const int*)value;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(
    cublasLtMatmulDesc_t* made, cublasComputeType_t compute, cudaDataType scale_type) {
  struct operation* operation = calloc(1, sizeof *operation);
  operation->scale_type = scale_type;
  operation->epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  *made = (cublasLtMatmulDesc_t)operation;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t operation) {
  free(operation);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(
    cublasLtMatmulDesc_t description, cublasLtMatmulDescAttributes_t attribute, const void* value, size_t size) {
  struct operation* operation = (struct operation*)description;
  switch ((int)attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA: operation->transposes_a = *(const int*)value; break;
    case CUBLASLT_MATMUL_DESC_TRANSB: operation->transposes_b = *(const int*)value; break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE: operation->epilogue = *(const int*)value; break;
    case CUBLASLT_MATMUL_DESC_A_SCALE_POINTER: operation->a_scale = *(void* const*)value; break;
    case CUBLASLT_MATMUL_DESC_B_SCALE_POINTER: operation->b_scale = *(void* const*)value; break;
    case CUBLASLT_MATMUL_DESC_D_SCALE_POINTER: operation->d_scale = *(void* const*)value; break;
    case CUBLASLT_MATMUL_DESC_A_SCALE_MODE: operation->a_scale_mode = *(const int*)value; break;
    case CUBLASLT_MATMUL_DESC_B_SCALE_MODE: operation->b_scale_mode = *(const int*)value; break;
    case CUBLASLT_MATMUL_DESC_FAST_ACCUM: operation->fast_accumulation = *(const signed char*)value; break;
  }
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  *preference = null_fresh_handle();
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  return CUBLAS_STATUS_SUCCESS;
}

static int is_fp8(cudaDataType type) { return type == CUDA_R_8F_E4M3 || type == CUDA_R_8F_E5M2; }

static long bytes_of(cudaDataType type) { return type == CUDA_R_32F ? 4 : is_fp8(type) ? 1 : 2; }

// "Narrow precision data types usage" in cuBLAS's documentation, of compute capability 9.0: A transposed and B not, no
// two operands of e5m2, and all dimensions in multiples of 16 bytes. NULL: nothing is wrong.
static const char* fp8_problem(
    const struct operation* operation, const struct layout* a, const struct layout* b, const struct layout* d) {
  if (!is_fp8(a->type) && !is_fp8(b->type)) return NULL;
  if (operation->transposes_a != CUBLAS_OP_T || operation->transposes_b != CUBLAS_OP_N) return "FP8 operands not TN";
  if (a->type == CUDA_R_8F_E5M2 && b->type == CUDA_R_8F_E5M2) return "FP8 operands both e5m2";
  int aligned = a->leading % 16 == 0 && b->leading % 16 == 0 && a->rows % 16 == 0 && b->rows % 16 == 0 &&
                d->leading * bytes_of(d->type) % 16 == 0;
  return aligned ? NULL : "FP8 dimensions not in multiples of 16 bytes";
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(
    cublasLtHandle_t handle,
    cublasLtMatmulDesc_t operation,
    cublasLtMatrixLayout_t A,
    cublasLtMatrixLayout_t B,
    cublasLtMatrixLayout_t C,
    cublasLtMatrixLayout_t D,
    cublasLtMatmulPreference_t preference,
    int asked,
    cublasLtMatmulHeuristicResult_t* results,
    int* found) {
  const struct layout *a = (struct layout*)A, *b = (struct layout*)B, *d = (struct layout*)D;
  const char* problem = fp8_problem((struct operation*)operation, a, b, d);
  *found = problem == NULL;
  if (problem) {
    fprintf(stderr, "null GPU: cublasLt: %s (A %lux%lu, B %lux%lu)\n", problem, a->rows, a->columns, b->rows, b->columns);
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  memset(results, 0, sizeof *results);
  results->wavesCount = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoCheck(
    cublasLtHandle_t handle,
    cublasLtMatmulDesc_t operation,
    cublasLtMatrixLayout_t A,
    cublasLtMatrixLayout_t B,
    cublasLtMatrixLayout_t C,
    cublasLtMatrixLayout_t D,
    const cublasLtMatmulAlgo_t* algorithm,
    cublasLtMatmulHeuristicResult_t* result) {
  memset(result, 0, sizeof *result);
  return CUBLAS_STATUS_SUCCESS;
}

static int adds_to_c(const struct operation* operation, const void* beta) {
  return beta && operation->scale_type == CUDA_R_32F && *(const float*)beta != 0;
}

cublasStatus_t cublasLtMatmul(
    cublasLtHandle_t handle,
    cublasLtMatmulDesc_t description,
    const void* alpha,
    const void* A,
    cublasLtMatrixLayout_t a_layout,
    const void* B,
    cublasLtMatrixLayout_t b_layout,
    const void* beta,
    const void* C,
    cublasLtMatrixLayout_t c_layout,
    void* D,
    cublasLtMatrixLayout_t d_layout,
    const cublasLtMatmulAlgo_t* algorithm,
    void* workspace,
    size_t workspace_size,
    cudaStream_t stream) {
  if (!null_is_traced()) return CUBLAS_STATUS_SUCCESS;
  const struct operation* operation = (struct operation*)description;
  const struct layout *a = (struct layout*)a_layout, *b = (struct layout*)b_layout, *d = (struct layout*)d_layout;
  char scales[64];
  snprintf(
      scales,
      sizeof scales,
      "A%d:%d B%d:%d D%d fast%d",
      operation->a_scale != NULL,
      operation->a_scale_mode,
      operation->b_scale != NULL,
      operation->b_scale_mode,
      operation->d_scale != NULL,
      operation->fast_accumulation);
  struct null_product product = {
      .by = "Lt",
      .a_type = a->type,
      .b_type = b->type,
      .d_type = d->type,
      .m = d->rows,
      .n = d->columns,
      .k = operation->transposes_a ? a->rows : a->columns,
      .batch = d->batch,
      .transposes_a = operation->transposes_a,
      .transposes_b = operation->transposes_b,
      .epilogue = operation->epilogue,
      .accumulates = adds_to_c(operation, beta),
      .scales = scales,
  };
  null_trace_product(&product);
  return CUBLAS_STATUS_SUCCESS;
}
