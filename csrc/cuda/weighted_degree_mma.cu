// SPDX-License-Identifier: MIT
// Weighted degree of short rows on the matrix units of a warp, fused: no n x n matrix exists.
//
//   degree_i = sum_{j != i} f(clamp(s_ij)),   s = sum over plane pairs of planes_a planes_b'
//
// Shapes: x (n, d) float32 -> two sides (rows, steps, 16) bfloat16 (short_planes.h), rows = n
// rounded up to a tile -> sums (n), fixed point. As in short_degree.cuh a block has a strip of the
// upper triangle (short_strips.h): its warps keep the strip's columns in registers, with their
// sums, and walk down its rows, copied a stage ahead.
// Bound: three planes of 9 features are four products of 4096 operations for 128 pairs, 26 cycles
// if mma.sync reaches 62 % of the matrix units, as others measured on an H100 (Luo et al., 2024,
// arXiv 2402.13499): 97 ms for 10^6 rows on an H200 at 1.98 GHz. Beside them nvcc 13.0 makes 15
// instructions a warp for the weights and both sums; one plane is bound by these, 61 ms. Estimates,
// no measurement.
// Numerics: bfloat16 in, smallest plane pairs first; float32 sums of `steps` instructions, each of
// which truncates; then weights as in short_degree.cuh: 16 of a column in float32, float64 to the
// end of the strip, 64 or 32 of a row in each warp. The order depends on n and d alone.
// A row with a NaN or an infinity sets `nonfinite`, which makes every degree NaN.
// Never run on a device yet (docs/gpu-status.md): selected on request only.
// Twin: hubprune.reference.weighted_degree.
#include <climits>
#include <type_traits>

#include "core/edge.h"
#include "core/fixed_point.h"
#include "core/scratch.h"
#include "cuda/async_copy.cuh"
#include "cuda/bfloat16_split.h"
#include "cuda/launch.cuh"
#include "cuda/launchers.h"
#include "cuda/short_planes.h"
#include "cuda/short_sides.cuh"
#include "cuda/short_strips.h"
#include "cuda/short_weight.cuh"
#include "cuda/warp_product.cuh"
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kColumns = 16;  // of an instruction, beside kRows
constexpr int kRows = 8;
constexpr int kRowGroup = 32;  // rows whose sums a warp adds up together

// Columns a warp keeps, 16 at a time: as many as their fragments leave registers for.
constexpr HUBPRUNE_SHARED int kept_tiles(int steps) { return steps <= 4 ? 4 : 2; }
constexpr HUBPRUNE_SHARED int tile_side(int steps) { return kWarps * kept_tiles(steps) * kColumns; }
constexpr HUBPRUNE_SHARED int stage_rows(int steps) { return steps <= 8 ? 64 : 32; }
// Per multiprocessor: leaves 128, 168 or 255 registers a thread, no spills.
constexpr int resident_blocks(int steps) { return steps <= 2 ? 4 : steps <= 8 ? 3 : 2; }

template <int kSteps>
struct MmaMemory {
  alignas(16) uint32_t rows[2][stage_rows(kSteps) * kSteps * kRowWords];  // double-buffered
  float sums[2][kWarps][stage_rows(kSteps)];
};

template <int kCount>
struct alignas(4 * kCount) Words {
  uint32_t values[kCount];
};

// Starts copying the rows of a stage.
template <int kSteps>
__device__ __forceinline__ void copy_stage(MmaMemory<kSteps>& shared, const uint32_t* rows,
                                           int64_t stage) {
  constexpr int kWords = stage_rows(kSteps) * kSteps * kRowWords;
  static_assert(kWords % (4 * kThreads) == 0, "the threads' shares");
  uint32_t* target = shared.rows[stage % 2];
#pragma unroll
  for (int first = 0; first < kWords; first += 4 * kThreads) {
    const int at = first + 4 * thread_index();
    copy_async<16>(target + at, rows + stage * kWords + at, true);
  }
}

// Adds the sums that the warps have of a stage's rows.
template <int kSteps>
__device__ __forceinline__ void add_rows(const MmaMemory<kSteps>& shared, int64_t stage,
                                         float scale, unsigned long long* __restrict__ sums) {
  static_assert(kWarps == 4, "sums of a row");
  const int row = thread_index();
  if (row >= stage_rows(kSteps)) return;
  const auto& parts = shared.sums[stage % 2];
  const float sum = (parts[0][row] + parts[1][row]) + (parts[2][row] + parts[3][row]);
  atomicAdd(sums + stage * stage_rows(kSteps) + row,
            static_cast<unsigned long long>(llrintf(sum * scale)));
}

// Adds one strip to sums (n).
template <Edge kEdge, int kSteps>
__device__ __forceinline__ void add_strip(const Sides& sides, const Strip& strip, int64_t n,
                                          double scale, MmaMemory<kSteps>& shared,
                                          unsigned long long* __restrict__ sums) {
  constexpr int kKept = kept_tiles(kSteps);
  constexpr int kSize = words_at_once(kSteps);
  constexpr int kStages = tile_side(kSteps) / stage_rows(kSteps);  // of a tile
  const int lane = thread_index() % kWarp;
  const int group = lane / 4;
  const int quad = lane % 4;
  const int own = thread_index() / kWarp * kKept * kColumns + group;  // and kColumns / 2 further on
  const int64_t end = int64_t{strip.end} * kStages;

  // Load
  copy_stage(shared, sides.passing, int64_t{strip.first} * kStages);
  const int64_t first_column = int64_t{strip.column} * tile_side(kSteps) + own;
  Words<4> kept[kKept][kSteps];
#pragma unroll
  for (int m = 0; m < kKept; ++m) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const int64_t place =
          kept_place(kSteps, first_column + m * kColumns, quad, step * kStepWords);
      kept[m][step] = *reinterpret_cast<const Words<4>*>(sides.kept + place);
    }
  }

  double total[2 * kKept] = {};
#pragma unroll 1
  for (int64_t stage = int64_t{strip.first} * kStages; stage < end; ++stage) {
    wait_for_copies();
    __syncthreads();
    if (stage + 1 < end) copy_stage(shared, sides.passing, stage + 1);
    // A diagonal tile holds every pair twice: its columns are enough. It is the strip's last.
    if (stage > int64_t{strip.first} * kStages && (stage - 1) / kStages != strip.column) {
      add_rows(shared, stage - 1, static_cast<float>(scale), sums);
    }

    // Compute
    const bool diagonal = stage / kStages == strip.column;
    float column_sums[2 * kKept] = {};
#pragma unroll 1
    for (int first = 0; first < stage_rows(kSteps); first += kRowGroup) {
      float row_sums[kRowGroup / 4] = {};
#pragma unroll
      for (int tile = 0; tile < kRowGroup / kRows; ++tile) {
        const int row = first + tile * kRows;
        Words<2> words[kSteps];
#pragma unroll
        for (int step = 0; step < kSteps; step += kSize / kStepWords) {
          const int64_t place = passing_place(kSteps, row + group, quad, step * kStepWords);
          const auto loaded =
              *reinterpret_cast<const Words<kSize>*>(shared.rows[stage % 2] + place);
#pragma unroll
          for (int i = 0; i < kSize; ++i) {
            words[step + i / kStepWords].values[i % kStepWords] = loaded.values[i];
          }
        }
#pragma unroll
        for (int m = 0; m < kKept; ++m) {
          float weight[4];
#pragma unroll
          for (int step = 0; step < kSteps; ++step) {
            warp_multiply(weight, kept[m][step].values, words[step].values, step > 0);
          }
          if (diagonal) {  // no self loops
            const int apart =
                own + m * kColumns -
                (static_cast<int>(stage % kStages) * stage_rows(kSteps) + row + 2 * quad);
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              if (apart + i / 2 * (kColumns / 2) == i % 2) weight[i] = 0.0f;
            }
          }
#pragma unroll
          for (int i = 0; i < 4; ++i) weight[i] = short_weight<kEdge>(weight[i]);
          column_sums[2 * m] += weight[0] + weight[1];
          column_sums[2 * m + 1] += weight[2] + weight[3];
          row_sums[2 * tile] += weight[0] + weight[2];
          row_sums[2 * tile + 1] += weight[1] + weight[3];
        }
      }

      // Store: lanes 4, 8 and 16 apart hold the same rows, and end with one of eight.
      exchange_half<4>(row_sums, (lane & 16) != 0, 16);
      exchange_half<2>(row_sums, (lane & 8) != 0, 8);
      exchange_half<1>(row_sums, (lane & 4) != 0, 4);
      const int row = first + group / 2 * kRows + 2 * quad + group % 2;
      shared.sums[stage % 2][thread_index() / kWarp][row] = row_sums[0];
    }
#pragma unroll
    for (int c = 0; c < 2 * kKept; ++c) total[c] += static_cast<double>(column_sums[c]);
  }
  __syncthreads();  // the block's next strip starts with copies
  if ((end - 1) / kStages != strip.column) {
    add_rows(shared, end - 1, static_cast<float>(scale), sums);
  }

  // Store: the lanes of a quad hold the same columns, and end with a quarter of them.
  exchange_half<kKept>(total, (quad & 2) != 0, 2);
  exchange_half<kKept / 2>(total, (quad & 1) != 0, 1);
#pragma unroll
  for (int i = 0; i < kKept / 2; ++i) {
    const int half = quad / 2 * kKept + quad % 2 * (kKept / 2) + i;
    const int64_t column = first_column + half * kColumns / 2;
    if (column < n) {
      atomicAdd(sums + column, static_cast<unsigned long long>(to_fixed_point(total[i], scale)));
    }
  }
}

// Adds to sums (n), zeroed before. Blocks: strips.
template <Edge kEdge, int kSteps>
__global__ void __launch_bounds__(kThreads, resident_blocks(kSteps))
    weighted_degree_mma_kernel(const Sides sides, int64_t n, double scale,
                               const unsigned long long* __restrict__ nonfinite,
                               unsigned long long* __restrict__ sums) {
  auto& shared = block_memory<MmaMemory<kSteps>>();
  if (*nonfinite) return;  // every degree is NaN whatever the sums hold
  const int64_t side = ceil_divide(n, tile_side(kSteps));
  const int64_t strips = strip_count(side);
  for (int64_t work = block_index(); work < strips; work += grid_blocks()) {
    add_strip<kEdge, kSteps>(sides, strip_at(work, side), n, scale, shared, sums);
  }
}

// The steps as a compile-time constant, for a function that is called with it.
template <class Function>
void with_steps(int steps, const Function& function) {
  if (steps == 1) function(std::integral_constant<int, 1>{});
  if (steps == 2) function(std::integral_constant<int, 2>{});
  if (steps == 4) function(std::integral_constant<int, 4>{});
  if (steps == 8) function(std::integral_constant<int, 8>{});
  if (steps == 12) function(std::integral_constant<int, 12>{});
}

struct MmaScratch {
  int steps;
  int64_t rows;
  Sides sides;
  int64_t bytes;

  MmaScratch(void* memory, int planes, int64_t n, int64_t d) : steps(row_steps(planes, d)) {
    rows = steps > 0 ? ceil_divide(n, tile_side(steps)) * tile_side(steps) : 0;
    Scratch pieces(memory);
    sides.kept = pieces.take<uint32_t>(rows * steps * kRowWords);
    sides.passing = pieces.take<uint32_t>(rows * steps * kRowWords);
    bytes = pieces.bytes();
  }
};

}  // namespace

int64_t mma_degree_scratch_bytes(int planes, int64_t n, int64_t d) {
  return MmaScratch(nullptr, planes, n, d).bytes;
}

Status launch_mma_degree(const float* x, int planes, int64_t n, int64_t d, Edge edge,
                         unsigned long long* nonfinite, unsigned long long* sums,
                         void* scratch_memory, int device, void* stream) {
  if (planes < 1 || planes > kMostPlanes || row_steps(planes, d) == 0 || n > INT_MAX ||
      edge == Edge::kSigned || edge == Edge::kShifted) {
    return Status::kInvalidValue;
  }
  if (n == 0 || d == 0) return Status::kOk;
  const MmaScratch scratch(scratch_memory, planes, n, d);
  Launches launches("weighted_degree_mma", device, stream);
  launches.kernel(short_sides_kernel, scratch.rows / kSideRows, 4 * kSideRows, 0, x, n,
                  static_cast<int>(d), planes, scratch.steps, scratch.rows, scratch.sides,
                  nonfinite);
  with_steps(scratch.steps, [&](auto steps) {
    with_tiled_edge(edge, [&](auto tag) {
      constexpr int kSteps = decltype(steps)::value;
      launches.kernel(weighted_degree_mma_kernel<decltype(tag)::value, kSteps>,
                      strip_count(ceil_divide(n, tile_side(kSteps))), kThreads,
                      sizeof(MmaMemory<kSteps>), scratch.sides, n, fixed_point_scale(n), nonfinite,
                      sums);
    });
  });
  return launches.status();
}

}  // namespace hubprune::cuda
