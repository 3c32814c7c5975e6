// NCCL: a rank that hears nothing of the others. What it gives goes to its own place; alone, that is all there is.
#include "null_gpu.h"

#include <nccl.h>
#include <stdlib.h>
#include <string.h>

struct communicator {
  int rank, size;
};

static size_t bytes_of(size_t count, ncclDataType_t type) {
  switch (type) {
    case ncclFloat64:
    case ncclInt64:
    case ncclUint64: return 8 * count;
    case ncclFloat32:
    case ncclInt32:
    case ncclUint32: return 4 * count;
    case ncclFloat16:
    case ncclBfloat16: return 2 * count;
    default: return count;
  }
}

static ncclResult_t connect(ncclComm_t* made, int size, int rank) {
  struct communicator* communicator = malloc(sizeof *communicator);
  *communicator = (struct communicator){rank, size};
  *made = (ncclComm_t)communicator;
  return ncclSuccess;
}

static int rank_in(ncclComm_t communicator) { return ((struct communicator*)communicator)->rank; }

ncclResult_t ncclGetVersion(int* version) {
  *version = 22907;
  return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  memset(id, 1, sizeof *id);
  return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t* made, int size, ncclUniqueId id, int rank) { return connect(made, size, rank); }

ncclResult_t ncclCommInitRankConfig(ncclComm_t* made, int size, ncclUniqueId id, int rank, ncclConfig_t* config) {
  return connect(made, size, rank);
}

ncclResult_t ncclCommInitRankScalable(
    ncclComm_t* made, int size, int rank, int id_count, ncclUniqueId* ids, ncclConfig_t* config) {
  return connect(made, size, rank);
}

ncclResult_t ncclCommSplit(ncclComm_t whole, int color, int key, ncclComm_t* made, ncclConfig_t* config) {
  return connect(made, ((struct communicator*)whole)->size, key);
}

ncclResult_t ncclCommCount(const ncclComm_t communicator, int* count) {
  *count = ((struct communicator*)communicator)->size;
  return ncclSuccess;
}

ncclResult_t ncclCommUserRank(const ncclComm_t communicator, int* rank) {
  *rank = rank_in(communicator);
  return ncclSuccess;
}

ncclResult_t ncclCommCuDevice(const ncclComm_t communicator, int* device) {
  *device = null_current_device();
  return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t communicator, ncclResult_t* error) {
  *error = ncclSuccess;
  return ncclSuccess;
}

const char* ncclGetErrorString(ncclResult_t error) { return error ? "error of the null GPU's NCCL" : "no error"; }

const char* ncclGetLastError(ncclComm_t communicator) { return ""; }

static ncclResult_t pass_on(const char* name, const void* from, void* to, size_t bytes) {
  null_trace_collective(name, bytes);
  null_copy(to, from, bytes);
  return ncclSuccess;
}

ncclResult_t ncclAllReduce(
    const void* from,
    void* to,
    size_t count,
    ncclDataType_t type,
    ncclRedOp_t operation,
    ncclComm_t communicator,
    cudaStream_t stream) {
  return pass_on("AllReduce", from, to, bytes_of(count, type));
}

ncclResult_t ncclReduce(
    const void* from,
    void* to,
    size_t count,
    ncclDataType_t type,
    ncclRedOp_t operation,
    int root,
    ncclComm_t communicator,
    cudaStream_t stream) {
  return pass_on("Reduce", from, to, bytes_of(count, type));
}

ncclResult_t ncclBroadcast(
    const void* from,
    void* to,
    size_t count,
    ncclDataType_t type,
    int root,
    ncclComm_t communicator,
    cudaStream_t stream) {
  return pass_on("Broadcast", from, to, bytes_of(count, type));
}

ncclResult_t ncclBcast(
    void* at, size_t count, ncclDataType_t type, int root, ncclComm_t communicator, cudaStream_t stream) {
  return pass_on("Broadcast", at, at, bytes_of(count, type));
}

ncclResult_t ncclAllGather(
    const void* from, void* to, size_t count, ncclDataType_t type, ncclComm_t communicator, cudaStream_t stream) {
  size_t bytes = bytes_of(count, type);
  return pass_on("AllGather", from, (char*)to + bytes * rank_in(communicator), bytes);
}

ncclResult_t ncclReduceScatter(
    const void* from,
    void* to,
    size_t count,
    ncclDataType_t type,
    ncclRedOp_t operation,
    ncclComm_t communicator,
    cudaStream_t stream) {
  size_t bytes = bytes_of(count, type);
  return pass_on("ReduceScatter", (const char*)from + bytes * rank_in(communicator), to, bytes);
}

ncclResult_t ncclSend(
    const void* from, size_t count, ncclDataType_t type, int peer, ncclComm_t communicator, cudaStream_t stream) {
  null_trace_collective("Send", bytes_of(count, type));
  return ncclSuccess;
}

ncclResult_t ncclRecv(
    void* to, size_t count, ncclDataType_t type, int peer, ncclComm_t communicator, cudaStream_t stream) {
  null_trace_collective("Recv", bytes_of(count, type));
  return ncclSuccess;
}
