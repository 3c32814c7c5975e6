// cuBLAS: matrix products are noted with their types and shapes.
#include "null_gpu.h"

#include <cublas_v2.h>

cublasStatus_t cublasCreate_v2(cublasHandle_t* handle) {
  *handle = null_fresh_handle();
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetVersion_v2(cublasHandle_t handle, int* version) {
  *version = 130100;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetMathMode(cublasHandle_t handle, cublasMath_t* mode) {
  *mode = CUBLAS_DEFAULT_MATH;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetPointerMode_v2(cublasHandle_t handle, cublasPointerMode_t* mode) {
  *mode = CUBLAS_POINTER_MODE_HOST;
  return CUBLAS_STATUS_SUCCESS;
}

const char* cublasGetStatusString(cublasStatus_t status) {
  return status ? "error of the null GPU's cuBLAS" : "success";
}

struct shape {
  cublasOperation_t a, b;
  int m, n, k, batch;
};

static cublasStatus_t multiplied(
    const char* by, struct shape shape, cudaDataType a, cudaDataType b, cudaDataType c, const void* beta) {
  struct null_product product = {
      .by = by,
      .a_type = a,
      .b_type = b,
      .d_type = c,
      .m = shape.m,
      .n = shape.n,
      .k = shape.k,
      .batch = shape.batch,
      .transposes_a = shape.a,
      .transposes_b = shape.b,
      .accumulates = beta && *(const float*)beta != 0,
      .scales = "",
  };
  null_trace_product(&product);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGemmEx(
    cublasHandle_t handle,
    cublasOperation_t op_a,
    cublasOperation_t op_b,
    int m,
    int n,
    int k,
    const void* alpha,
    const void* A,
    cudaDataType a,
    int lda,
    const void* B,
    cudaDataType b,
    int ldb,
    const void* beta,
    void* C,
    cudaDataType c,
    int ldc,
    cublasComputeType_t compute,
    cublasGemmAlgo_t algorithm) {
  return multiplied("GemmEx", (struct shape){op_a, op_b, m, n, k, 1}, a, b, c, beta);
}

cublasStatus_t cublasGemmStridedBatchedEx(
    cublasHandle_t handle,
    cublasOperation_t op_a,
    cublasOperation_t op_b,
    int m,
    int n,
    int k,
    const void* alpha,
    const void* A,
    cudaDataType a,
    int lda,
    long long stride_a,
    const void* B,
    cudaDataType b,
    int ldb,
    long long stride_b,
    const void* beta,
    void* C,
    cudaDataType c,
    int ldc,
    long long stride_c,
    int batch,
    cublasComputeType_t compute,
    cublasGemmAlgo_t algorithm) {
  return multiplied("GemmStridedBatchedEx", (struct shape){op_a, op_b, m, n, k, batch}, a, b, c, beta);
}

cublasStatus_t cublasSgemm_v2(
    cublasHandle_t handle,
    cublasOperation_t op_a,
    cublasOperation_t op_b,
    int m,
    int n,
    int k,
    const float* alpha,
    const float* A,
    int lda,
    const float* B,
    int ldb,
    const float* beta,
    float* C,
    int ldc) {
  return multiplied("Sgemm", (struct shape){op_a, op_b, m, n, k, 1}, CUDA_R_32F, CUDA_R_32F, CUDA_R_32F, beta);
}

cublasStatus_t cublasSgemmEx(
    cublasHandle_t handle,
    cublasOperation_t op_a,
    cublasOperation_t op_b,
    int m,
    int n,
    int k,
    const float* alpha,
    const void* A,
    cudaDataType a,
    int lda,
    const void* B,
    cudaDataType b,
    int ldb,
    const float* beta,
    void* C,
    cudaDataType c,
    int ldc) {
  return multiplied("SgemmEx", (struct shape){op_a, op_b, m, n, k, 1}, a, b, c, beta);
}
