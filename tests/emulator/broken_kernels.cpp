// SPDX-License-Identifier: MIT
// Kernels with one deliberate mistake each: the emulator must name every one of them, or its
// silence about the real kernels would mean nothing.
#include "cuda/async_copy.cuh"
#include "cuda/launch.cuh"
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {
namespace {

constexpr int kThreads = 64;

struct Memory {
  float values[kThreads];
};

__global__ void correct_kernel(float* data, int64_t) {
  Memory& shared = block_memory<Memory>();
  shared.values[threadIdx.x] = static_cast<float>(threadIdx.x);
  __syncthreads();
  const float other = shared.values[kThreads - 1 - thread_index()];
  data[block_index() * kThreads + thread_index()] = other;
}

__global__ void divergent_barrier_kernel(float* data, int64_t) {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  data[block_index() * kThreads + thread_index()] = 0.0f;
}

__global__ void left_before_barrier_kernel(float* data, int64_t) {
  if (threadIdx.x == 5) return;
  __syncthreads();
  data[block_index() * kThreads + thread_index()] = 0.0f;
}

__global__ void barrier_against_shuffle_kernel(float* data, int64_t) {
  double value = 1.0;
  if (threadIdx.x % 2) {
    __syncthreads();
  } else {
    value = warp_sum(value);
  }
  data[block_index() * kThreads + thread_index()] = static_cast<float>(value);
}

__global__ void barrier_against_ballot_kernel(float* data, int64_t) {
  unsigned bits = 0;
  if (threadIdx.x % 2) {
    __syncwarp();
  } else {
    bits = __ballot_sync(kFullWarp, threadIdx.x < 16);
  }
  data[block_index() * kThreads + thread_index()] = static_cast<float>(bits);
}

__global__ void wrong_mask_kernel(float* data, int64_t) {
  const unsigned mask = threadIdx.x < 32 ? 0x0000ffffu : kFullWarp;
  data[block_index() * kThreads + thread_index()] =
      __shfl_xor_sync(mask, static_cast<float>(threadIdx.x), 1);
}

__global__ void lane_left_kernel(float* data, int64_t) {
  if (threadIdx.x == 40) return;
  data[block_index() * kThreads + thread_index()] =
      static_cast<float>(warp_sum(static_cast<double>(threadIdx.x)));
}

__global__ void shuffle_outside_mask_kernel(float* data, int64_t) {
  float value = 0.0f;
  if (threadIdx.x % 32 < 16) {
    value = __shfl_xor_sync(0x0000ffffu, static_cast<float>(threadIdx.x), 16);
  }
  data[block_index() * kThreads + thread_index()] = value;
}

__global__ void write_past_end_kernel(float* data, int64_t size) {
  if (threadIdx.x == 0) data[size] = 0.0f;
}

__global__ void read_before_start_kernel(float* data, int64_t) {
  if (threadIdx.x == 0) data[0] = data[-1];
}

__global__ void shared_past_end_kernel(float* data, int64_t) {
  Memory& shared = block_memory<Memory>();
  float* values = shared.values;
  values[thread_index() + 1] = 0.0f;
  data[block_index() * kThreads + thread_index()] = 0.0f;
}

__global__ void misaligned_kernel(float* data, int64_t) {
  struct alignas(16) Four {
    float values[4];
  };
  if (threadIdx.x == 0) *reinterpret_cast<Four*>(data + 1) = Four{{1.0f, 2.0f, 3.0f, 4.0f}};
}

__global__ void shared_race_kernel(float* data, int64_t) {
  Memory& shared = block_memory<Memory>();
  shared.values[threadIdx.x] = 0.0f;
  __syncthreads();
  shared.values[threadIdx.x] = static_cast<float>(threadIdx.x);
  const float other = shared.values[kThreads - 1 - thread_index()];  // the barrier is missing
  data[block_index() * kThreads + thread_index()] = other;
}

__global__ void write_after_read_kernel(float* data, int64_t) {
  Memory& shared = block_memory<Memory>();
  shared.values[threadIdx.x] = static_cast<float>(threadIdx.x);
  __syncthreads();
  const float other = shared.values[kThreads - 1 - thread_index()];
  shared.values[threadIdx.x] = other;  // the barrier is missing
  data[block_index() * kThreads + thread_index()] = shared.values[threadIdx.x];
}

__global__ void block_race_kernel(float* data, int64_t) {
  data[threadIdx.x] = 1.0f;  // every block writes the same words
}

__global__ void unsafe_sum_kernel(float* data, int64_t) {
  data[threadIdx.x] += 1.0f;  // should have been an atomic
}

__global__ void mixed_atomic_kernel(float* data, int64_t) {
  if (blockIdx.x == 0) {
    atomicAdd(data + threadIdx.x, 1.0f);
  } else {
    data[threadIdx.x] = 1.0f;
  }
}

__global__ void unwritten_shared_kernel(float* data, int64_t) {
  Memory& shared = block_memory<Memory>();
  if (threadIdx.x != 7) shared.values[threadIdx.x] = 0.0f;
  __syncthreads();
  data[block_index() * kThreads + thread_index()] = shared.values[threadIdx.x];
}

__global__ void unwritten_global_kernel(float* data, int64_t size) {
  data[block_index() * kThreads + thread_index()] = data[size - 1] + 1.0f;
}

__global__ void other_stack_kernel(float* data, int64_t) {
  struct Pointers {
    int* own[kThreads];
  };
  auto& shared = block_memory<Pointers>();
  int local = thread_index();
  shared.own[threadIdx.x] = &local;
  __syncthreads();
  *shared.own[kThreads - 1 - thread_index()] = 3;
  __syncthreads();
  data[block_index() * kThreads + thread_index()] = static_cast<float>(local);
}

__global__ void static_shared_kernel(float* data, int64_t) {
  __shared__ float values[kThreads];  // launch.cuh asks for block_memory
  values[threadIdx.x] = 0.0f;
  __syncthreads();
  data[block_index() * kThreads + thread_index()] = values[kThreads - 1 - thread_index()];
}

__global__ void overflow_kernel(float* data, int64_t) {
  const float large = 3e38f * static_cast<float>(threadIdx.x + 1);
  data[block_index() * kThreads + thread_index()] = static_cast<float>(static_cast<int64_t>(large));
}

__global__ void out_of_extent_kernel(float* data, int64_t) {
  Memory& shared = block_memory<Memory>();
  shared.values[threadIdx.x + kThreads] = 0.0f;
  data[block_index() * kThreads + thread_index()] = 0.0f;
}

// Block 0 or 1, whichever comes last, sums what both have stored before they counted themselves.
template <bool kFence, bool kSync, bool kSecondFence>
__global__ void last_block_kernel(float* data, int64_t) {
  const int lane = thread_index();
  auto* count = reinterpret_cast<unsigned*>(data + 2 * kThreads - 1);
  if (lane >= 32) return;
  data[block_index() * kThreads + lane] = 1.0f;
  if (kFence) __threadfence();
  if (kSync) __syncwarp();
  unsigned before = 0;
  if (lane == 0) before = atomicAdd(count, 1u);
  before = __shfl_sync(0xffffffffu, before, 0);
  if (before != 1) return;
  if (kSecondFence) __threadfence();
  data[kThreads - 1 - lane] = data[lane] + __ldcg(data + kThreads + lane);
}

// Lane 0 copies 16 bytes; the next warp reads them.
template <bool kWait, bool kFirstSync, bool kSync>
__global__ void copy_kernel(float* data, int64_t) {
  Memory& shared = block_memory<Memory>();
  shared.values[threadIdx.x] = 1.0f;
  float before = 0.0f;
  if (threadIdx.x >= 32) before = shared.values[threadIdx.x];
  if (kFirstSync) __syncthreads();
  if (threadIdx.x == 0) {
    copy_async<16>(shared.values + 32, shared.values, false);
    if (kWait) wait_for_copies();
  }
  if (kSync) __syncthreads();
  if (threadIdx.x >= 32) before += shared.values[threadIdx.x];
  data[block_index() * kThreads + thread_index()] = before;
}

// Lane 0 copies twice 16 bytes, of which the next warp reads the first, then the others.
template <int kGroups, bool kCommit>
__global__ void copy_groups_kernel(float* data, int64_t) {
  Memory& shared = block_memory<Memory>();
  shared.values[threadIdx.x] = 1.0f;
  __syncthreads();
  if (threadIdx.x == 0) {
    copy_async<16>(shared.values + 32, shared.values, false);
    if (kCommit) commit_copies();
    copy_async<16>(shared.values + 36, shared.values, false);
    if (kCommit) commit_copies();
    wait_for_groups<kGroups>();
  }
  __syncthreads();
  float sum = shared.values[threadIdx.x % 4 + 32];
  __syncthreads();
  if (threadIdx.x == 0) wait_for_copies();
  __syncthreads();
  sum += shared.values[threadIdx.x];
  data[block_index() * kThreads + thread_index()] = sum;
}

__global__ void copy_left_kernel(float* data, int64_t) {
  Memory& shared = block_memory<Memory>();
  if (threadIdx.x == 0) copy_async<16>(shared.values, shared.values, false);
  data[block_index() * kThreads + thread_index()] = 0.0f;
}

struct Case {
  const char* name;
  void (*kernel)(float*, int64_t);
  size_t shared_bytes;
};

constexpr Case kCases[] = {
    {"correct", correct_kernel, sizeof(Memory)},
    {"divergent_barrier", divergent_barrier_kernel, 0},
    {"left_before_barrier", left_before_barrier_kernel, 0},
    {"barrier_against_shuffle", barrier_against_shuffle_kernel, 0},
    {"barrier_against_ballot", barrier_against_ballot_kernel, 0},
    {"wrong_mask", wrong_mask_kernel, 0},
    {"lane_left", lane_left_kernel, 0},
    {"shuffle_outside_mask", shuffle_outside_mask_kernel, 0},
    {"write_past_end", write_past_end_kernel, 0},
    {"read_before_start", read_before_start_kernel, 0},
    {"shared_past_end", shared_past_end_kernel, sizeof(Memory)},
    {"shared_size_forgotten", correct_kernel, 0},
    {"misaligned", misaligned_kernel, 0},
    {"shared_race", shared_race_kernel, sizeof(Memory)},
    {"write_after_read", write_after_read_kernel, sizeof(Memory)},
    {"block_race", block_race_kernel, 0},
    {"unsafe_sum", unsafe_sum_kernel, 0},
    {"mixed_atomic", mixed_atomic_kernel, 0},
    {"unwritten_shared", unwritten_shared_kernel, sizeof(Memory)},
    {"unwritten_global", unwritten_global_kernel, 0},
    {"other_stack", other_stack_kernel, kThreads * sizeof(int*)},
    {"static_shared", static_shared_kernel, 0},
    {"overflow", overflow_kernel, 0},
    {"out_of_extent", out_of_extent_kernel, sizeof(Memory)},
    {"correct_last_block", last_block_kernel<true, true, true>, 0},
    {"no_fence", last_block_kernel<false, true, true>, 0},
    {"warp_not_met", last_block_kernel<true, false, true>, 0},
    {"no_second_fence", last_block_kernel<true, true, false>, 0},
    {"correct_copy", copy_kernel<true, true, true>, sizeof(Memory)},
    {"copy_not_awaited", copy_kernel<false, true, true>, sizeof(Memory)},
    {"copy_overwrites", copy_kernel<true, false, true>, sizeof(Memory)},
    {"copy_without_barrier", copy_kernel<true, true, false>, sizeof(Memory)},
    {"copy_left", copy_left_kernel, sizeof(Memory)},
    {"correct_groups", copy_groups_kernel<1, true>, sizeof(Memory)},
    {"group_not_awaited", copy_groups_kernel<2, true>, sizeof(Memory)},
    {"copy_not_committed", copy_groups_kernel<0, false>, sizeof(Memory)},
};
constexpr int kCaseCount = static_cast<int>(sizeof kCases / sizeof kCases[0]);

}  // namespace
}  // namespace hubprune::cuda

extern "C" {

// The name of a case; null past the last.
const char* broken_name(int index) {
  using namespace hubprune::cuda;
  return index >= 0 && index < kCaseCount ? kCases[index].name : nullptr;
}

// Runs two blocks of 64 threads on data (size >= 128 floats); the launcher's status.
int broken_run(int index, float* data, int64_t size) {
  using namespace hubprune::cuda;
  Launches launches("broken", 0, nullptr);
  launches.kernel(kCases[index].kernel, 2, kThreads, kCases[index].shared_bytes, data, size);
  return static_cast<int>(launches.status());
}

}  // extern "C"
