// SPDX-License-Identifier: MIT
// Deliberate mistakes with Hopper's units, in small pipelines: two pairs of boxes go through a ring
// of one stage, one warpgroup multiplies them; in one block, or in two of a cluster that copy half
// of the columns each, for both. test_emulator.py names what has to be reported.
#include "cuda/launch.cuh"
#include "cuda/sm90.cuh"
#include "cuda/tensor_map.cuh"
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {
namespace {

constexpr int kGroup = 128;
constexpr int kBoxBytes = kTensorTile * kTensorDepth * 2;

enum class Mistake {
  kNone,
  kOverwrites,
  kDoesNotWait,
  kReadsEarly,
  kCopiesOneBox,
  kExpectsMore,
  kForgetsFence,
  kForgetsToTellTheEngine,
  kNoBarrier,
  kUnorderedBarrier,
  kMisaligned,
  kOtherDescriptor,
  kOtherWarp,
  kDiverges,
  kLeavesEarly,
  kArrivesTooOften,
  kOutside,
  kTakesTooMany,
  kTakesTheFile,
};

struct Stage {
  uint16_t rows[kTensorTile * kTensorDepth];
  uint16_t columns[kTensorTile * kTensorDepth];
  uint64_t full;
  uint64_t empty;
};
constexpr size_t kBytes = sizeof(Stage) + 1024;

// data (2, 64): column 0 of the sum of both products.
template <Mistake kMistake>
__global__ void __launch_bounds__(3 * kGroup, 1)
    pipeline_kernel(const __grid_constant__ CUtensorMap map, float* data) {
  unsigned char* memory = block_bytes();
  const uint32_t pad = (1024 - sm90::shared_address(memory) % 1024) % 1024;
  auto& stage = *reinterpret_cast<Stage*>(memory + pad);
  const int thread = thread_index() % kGroup;
  if (thread_index() == 0 && kMistake != Mistake::kNoBarrier) {
    sm90::barrier_init(&stage.full, 1);
    sm90::barrier_init(&stage.empty, kGroup / kWarp);
    if (kMistake != Mistake::kForgetsToTellTheEngine) sm90::barrier_init_done();
  }
  if (kMistake != Mistake::kUnorderedBarrier) __syncthreads();

  if (thread_index() >= kGroup) {
    // The file holds 2 * 128 + 256 registers of 128 threads, the pool of 384 threads 504.
    if (kMistake == Mistake::kTakesTheFile) {
      sm90::give_registers<128>();
    } else if (kMistake != Mistake::kTakesTooMany) {
      sm90::give_registers<40>();
    }
    if (thread_index() != kGroup) return;
    for (int k = 0; k < 2; ++k) {
      if (kMistake != Mistake::kOverwrites) sm90::barrier_wait(&stage.empty, 1 - k);
      const int bytes = kMistake == Mistake::kCopiesOneBox  ? kBoxBytes
                        : kMistake == Mistake::kExpectsMore ? 3 * kBoxBytes
                                                            : 2 * kBoxBytes;
      sm90::barrier_expect(&stage.full, static_cast<uint32_t>(bytes));
      const int shift = kMistake == Mistake::kMisaligned ? 32 : 0;
      sm90::copy_box(stage.rows + shift, &map, &stage.full, k * kTensorDepth, 0);
      if (kMistake != Mistake::kCopiesOneBox) {
        const int to = kMistake == Mistake::kOutside ? kTensorTile * kTensorDepth : 0;
        sm90::copy_box(stage.columns + to, &map, &stage.full, k * kTensorDepth, 0);
      }
    }
    return;
  }

  constexpr bool kTooMany =
      kMistake == Mistake::kTakesTooMany || kMistake == Mistake::kTakesTheFile;
  sm90::take_registers<kTooMany ? 256 : 232>();
  float sums[tensor_values(kTensorTile)];
  for (int k = 0; k < 2; ++k) {
    if (kMistake == Mistake::kLeavesEarly && k == 1) return;
    if (kMistake != Mistake::kDoesNotWait) sm90::barrier_wait(&stage.full, k);
    const uint64_t descriptor = operand_descriptor(sm90::shared_address(stage.rows));
    const uint64_t a = kMistake == Mistake::kOtherDescriptor ? descriptor & ~(3ull << 62)
                       : kMistake == Mistake::kOtherWarp && thread / kWarp == 2 ? descriptor + 512
                                                                                : descriptor;
    if (kMistake != Mistake::kForgetsFence) sm90::multiply_begin();
    if (kMistake == Mistake::kDiverges && thread % kWarp == 3) return;
    for (int step = 0; step < kTensorDepth / kTensorStep; ++step) {
      const auto along = static_cast<uint64_t>(step * kTensorStep * 2 / 16);
      sm90::multiply(sums, a + along,
                     operand_descriptor(sm90::shared_address(stage.columns)) + along,
                     k > 0 || step > 0);
    }
    sm90::multiply_commit();
    if (kMistake == Mistake::kReadsEarly && k == 1) break;
    sm90::multiply_wait<0>();
    if (thread % kWarp == 0 || kMistake == Mistake::kArrivesTooOften) {
      sm90::barrier_arrive(&stage.empty, 0);
    }
  }
  sm90::settle(sums);
  if (thread % 4 == 0) {
    data[fragment_row(thread, 0)] = sums[0];
    data[fragment_row(thread, 2)] = sums[2];
  }
}

enum class ClusterMistake {
  kNone,
  kNoMeeting,
  kForgetsTheOther,
  kCopiesForItself,
  kNoSuchBlock,
  kLeavesTheOther,
};

// data (64): column 0 of the sum of both products, by the block of rank 1.
template <ClusterMistake kMistake>
__global__ void __launch_bounds__(2 * kGroup, 1)
    cluster_kernel(const __grid_constant__ CUtensorMap map, float* data) {
  constexpr int kHalf = column_share(kTensorTile);
  constexpr int kWarps = kGroup / kWarp;
  constexpr bool kAlone = kMistake == ClusterMistake::kForgetsTheOther;
  unsigned char* memory = block_bytes();
  const uint32_t pad = (1024 - sm90::shared_address(memory) % 1024) % 1024;
  auto& stage = *reinterpret_cast<Stage*>(memory + pad);
  const int thread = thread_index() % kGroup;
  const int rank = static_cast<int>(block_index());
  if (thread_index() == 0) {
    sm90::barrier_init(&stage.full, 1);
    sm90::barrier_init(&stage.empty, kAlone ? kWarps : kClusterBlocks * kWarps);
    sm90::barrier_init_done();
  }
  if (kMistake == ClusterMistake::kNoMeeting) {
    __syncthreads();
  } else {
    sm90::cluster_barrier();
  }

  if (thread_index() >= kGroup) {
    for (int k = 0; k < 2 && thread == 0; ++k) {
      sm90::barrier_wait(&stage.empty, 1 - k);
      sm90::barrier_expect(&stage.full, (kHalf + kTensorTile) * kTensorDepth * 2);
      const int share = rank * kHalf;
      const unsigned ranks = kMistake == ClusterMistake::kCopiesForItself ? 1u << rank
                             : kMistake == ClusterMistake::kNoSuchBlock   ? 7
                                                                          : 3;
      sm90::copy_box(stage.rows, &map, &stage.full, k * kTensorDepth, 0);
      sm90::copy_box(stage.columns + share * kTensorDepth, &map, &stage.full, k * kTensorDepth,
                     share, ranks);
    }
  } else {
    float sums[tensor_values(kTensorTile)];
    for (int k = 0; k < 2; ++k) {
      sm90::barrier_wait(&stage.full, k);
      sm90::multiply_begin();
      for (int step = 0; step < kTensorDepth; step += kTensorStep) {
        const auto along = static_cast<uint32_t>(step) * 2;
        sm90::multiply(sums, operand_descriptor(sm90::shared_address(stage.rows) + along),
                       operand_descriptor(sm90::shared_address(stage.columns) + along),
                       k > 0 || step > 0);
      }
      sm90::multiply_commit();
      sm90::multiply_wait<0>();
      const int to = thread % kWarp;
      if (kAlone ? to == rank : to < kClusterBlocks) sm90::barrier_arrive(&stage.empty, to);
    }
    sm90::settle(sums);
    if (rank == 1 && thread % 4 == 0) {
      data[fragment_row(thread, 0)] = sums[0];
      data[fragment_row(thread, 2)] = sums[2];
    }
  }
  if (kMistake != ClusterMistake::kLeavesTheOther) sm90::cluster_barrier();
}

struct Case {
  const char* name;
  void (*kernel)(const CUtensorMap, float*);
  bool cluster = false;
};

constexpr Case kCases[] = {
    {"correct", pipeline_kernel<Mistake::kNone>},
    {"overwrites", pipeline_kernel<Mistake::kOverwrites>},
    {"does_not_wait", pipeline_kernel<Mistake::kDoesNotWait>},
    {"reads_early", pipeline_kernel<Mistake::kReadsEarly>},
    {"copies_one_box", pipeline_kernel<Mistake::kCopiesOneBox>},
    {"expects_more", pipeline_kernel<Mistake::kExpectsMore>},
    {"forgets_fence", pipeline_kernel<Mistake::kForgetsFence>},
    {"forgets_to_tell_the_engine", pipeline_kernel<Mistake::kForgetsToTellTheEngine>},
    {"no_barrier", pipeline_kernel<Mistake::kNoBarrier>},
    {"unordered_barrier", pipeline_kernel<Mistake::kUnorderedBarrier>},
    {"misaligned", pipeline_kernel<Mistake::kMisaligned>},
    {"other_descriptor", pipeline_kernel<Mistake::kOtherDescriptor>},
    {"other_warp", pipeline_kernel<Mistake::kOtherWarp>},
    {"diverges", pipeline_kernel<Mistake::kDiverges>},
    {"leaves_early", pipeline_kernel<Mistake::kLeavesEarly>},
    {"arrives_too_often", pipeline_kernel<Mistake::kArrivesTooOften>},
    {"outside", pipeline_kernel<Mistake::kOutside>},
    {"takes_too_many", pipeline_kernel<Mistake::kTakesTooMany>},
    {"takes_the_file", pipeline_kernel<Mistake::kTakesTheFile>},
    {"correct_cluster", cluster_kernel<ClusterMistake::kNone>, true},
    {"no_meeting", cluster_kernel<ClusterMistake::kNoMeeting>, true},
    {"forgets_the_other", cluster_kernel<ClusterMistake::kForgetsTheOther>, true},
    {"copies_for_itself", cluster_kernel<ClusterMistake::kCopiesForItself>, true},
    {"no_such_block", cluster_kernel<ClusterMistake::kNoSuchBlock>, true},
    {"leaves_the_other", cluster_kernel<ClusterMistake::kLeavesTheOther>, true},
};
constexpr int kCaseCount = static_cast<int>(sizeof kCases / sizeof kCases[0]);

}  // namespace
}  // namespace hubprune::cuda

extern "C" {

const char* broken_hopper_name(int index) {
  using namespace hubprune::cuda;
  return index >= 0 && index < kCaseCount ? kCases[index].name : nullptr;
}

// matrix (rows, 128) bfloat16 -> data (64): the products of rows 0 .. 63 with row 0.
int broken_hopper_run(int index, const uint16_t* matrix, int64_t rows, float* data) {
  using namespace hubprune::cuda;
  CUtensorMap map;
  const Case& broken = kCases[index];
  Launches launches("broken", 0, nullptr);
  const int box = broken.cluster ? column_share(kTensorTile) : kTensorTile;
  launches.check(encode_planes(matrix, rows, 2 * kTensorDepth, box, &map));
  launches.check(cudaFuncSetAttribute(broken.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      static_cast<int>(kBytes)));
  if (broken.cluster) {
    launches.cluster_kernel(broken.kernel, 1, kClusterBlocks, 2 * kGroup, kBytes, map, data);
  } else {
    launches.kernel(broken.kernel, 1, 3 * kGroup, kBytes, map, data);
  }
  return static_cast<int>(launches.status());
}

}  // extern "C"
