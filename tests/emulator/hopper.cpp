// SPDX-License-Identifier: MIT
// Hopper's units: see hopper.h. Compiled without -fsanitize.
// Source: PTX ISA 8.0 and later, "mbarrier", "Tensors" and "Asynchronous Warpgroup Level Matrix
// Instructions"; CUDA driver API, cuTensorMapEncodeTiled; the matrix unit's sums: Khattak and
// Mikaitis, "Accurate models of NVIDIA tensor cores", 2025 (arXiv 2512.07004), after Fasi et al.,
// "Numerical behavior of NVIDIA tensor cores", 2021.
#include "hopper.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <vector>

#include "emulator.h"
#include "threads.h"

namespace emulator::hopper {
namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 32;  // of a cluster, at most
constexpr int kWarpgroup = 4;
constexpr uint32_t kRegisterFile = 65536;  // what a launch may have at most
constexpr uint32_t kRowBytes = 128;        // of a box, and of the swizzle's pattern
constexpr uint32_t kMostTransfer = (1u << 20) - 1;
constexpr int kRows = 64;  // of a product
constexpr int kDepth = 16;
constexpr uint32_t kGroupRows = 8;  // of an operand
// Shared memory of the cluster: a block's rank, and an address as that block sees it.
constexpr int kRankShift = 24;

// What a warp knows of the others: their events up to a count.
using Clock = std::array<uint64_t, kWarps>;

void join(Clock& into, const Clock& from) {
  for (size_t i = 0; i < from.size(); ++i) into[i] = std::max(into[i], from[i]);
}

struct Barrier {
  int arrivals = 0;  // a phase takes
  int pending = 0;   // arrivals left
  int64_t transfer = 0;
  uint64_t phase = 0;  // complete ones
  Clock gathering{};   // what those who arrived knew
  Clock published{};   // ... in complete phases
  int creator = 0;
  uint32_t created_after = 0;  // barriers of its block
  uint32_t cluster_after = 0;  // ... of all blocks
  bool fenced = false;         // visible to the copy engine
};

// Who reads a box: by warp, after which of its events; none while a product still runs.
struct Reading {
  bool under_way = false;
  uint64_t group = 0;
  uint64_t retired_at = 0;
};

struct Box {
  uint32_t start;  // place
  uint32_t bytes;
  uint32_t barrier;  // place
  uint64_t phase;    // which it is a part of
  bool arrived = false;
  std::vector<unsigned char> content;  // until then
  std::map<int, Reading> readings;
};

// The sums of a thread's products until they are waited for.
struct Sums {
  std::vector<float> values;
  uint64_t group = 0;
};

struct Product {
  uint64_t a;
  uint64_t b;
  bool add;
};

// A lane's registers of a warp's product.
struct WarpOperand {
  std::array<uint32_t, 4> a;
  std::array<uint32_t, 2> b;
  bool add;
};

struct WarpState {
  Clock clock{};
  std::map<uint32_t, uint64_t> observed;  // complete phases of a barrier
  std::vector<Product> issued;            // since the start of the block
  bool uncommitted = false;               // products since the last commit
  uint64_t groups = 0;                    // committed
  uint32_t registers = 0;                 // a thread; 0: never changed
  std::array<WarpOperand, kWarp> lanes;   // of the product under way
};

struct ThreadState {
  bool fenced = false;
  size_t products = 0;
  std::map<float*, Sums> sums;
};

std::map<uint32_t, Barrier> barriers;  // by their places
std::vector<Box> boxes;
std::vector<WarpState> warps;  // counted over the cluster, as the threads are
std::vector<ThreadState> threads;
uint32_t base = 0;  // the shared address of a block's first byte

int thread() { return current_thread_number(); }
int warp_number() { return thread() / kWarp; }
WarpState& warp() { return warps[static_cast<size_t>(warp_number())]; }
ThreadState& state() { return threads[static_cast<size_t>(thread())]; }
uint64_t& own_time() { return warp().clock[static_cast<size_t>(warp_number())]; }

// Where `address` is in the block of that rank.
uint32_t place(int rank, uint32_t address) {
  return static_cast<uint32_t>(rank) << kRankShift | address;
}
uint32_t place(const void* pointer) { return place(current_rank(), shared_address(pointer)); }
int rank_at(uint32_t at) { return static_cast<int>(at >> kRankShift); }
unsigned char* memory(uint32_t at) {
  return shared_start(rank_at(at)) + (at % (1u << kRankShift) - base);
}

Barrier& find(uint32_t at) {
  const int rank = rank_at(at);
  if (rank >= cluster_size()) fail("cluster: it has no block of rank %d", rank);
  if (rank != current_rank() && has_left(rank)) {
    fail("cluster: the block of rank %d has left, and its shared memory with it", rank);
  }
  const auto found = barriers.find(at);
  if (found == barriers.end()) fail("barrier: it was never initialised");
  Barrier& barrier = found->second;
  const bool ordered = rank == current_rank() ? barrier.created_after != barriers_passed()
                                              : barrier.cluster_after != cluster_barriers_passed();
  if (barrier.creator != thread() && !ordered) {
    fail("barrier: nothing orders its initialisation by thread %d before this use",
         barrier.creator % threads_of_block());
  }
  return barrier;
}

void complete_if_due(Barrier& barrier) {
  if (barrier.pending > 0 || barrier.transfer != 0) return;
  ++barrier.phase;
  barrier.pending = barrier.arrivals;
  join(barrier.published, barrier.gathering);
}

void arrive(Barrier& barrier) {
  if (barrier.pending == 0) fail("barrier: more arrivals than a phase takes");
  join(barrier.gathering, warp().clock);
  ++own_time();
  --barrier.pending;
}

bool overlap(const Box& box, uint32_t start, uint32_t bytes) {
  return box.start < start + bytes && start < box.start + box.bytes;
}

void land(Box& box) {
  if (has_left(rank_at(box.start))) fail("copy: the block ends before a box has arrived");
  for (uint32_t at = 0; at < box.bytes; at += 16) {
    // The pattern lies in the addresses: bits 7 to 9 change bits 4 to 6.
    const uint32_t address = box.start + at;
    std::memcpy(memory(address ^ (address >> 7 & 7u) << 4), box.content.data() + at, 16);
  }
  box.arrived = true;
  Barrier& barrier = barriers.at(box.barrier);
  barrier.transfer -= box.bytes;
  complete_if_due(barrier);
}

float from_bfloat16(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

// The features of one row of an operand that an instruction takes.
struct Features {
  std::array<float, kDepth> values;
  std::array<int, kDepth> exponents;
  bool zero = false;  // all of them, and nothing else is set
};

constexpr int kNoExponent = -10000;
constexpr int kLeastExponent = -133;  // of the sums' last place but kFloatBits + kExtraBits
constexpr int kFloatBits = 23;
constexpr int kExtraBits = 2;

int exponent_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const int field = static_cast<int>(bits >> 23 & 0xff);
  return field == 0 ? (value == 0.0f ? kNoExponent : -126) : field - 127;
}

float truncated(double value) {
  const float nearest = static_cast<float>(value);
  return std::abs(static_cast<double>(nearest)) > std::abs(value) ? std::nextafter(nearest, 0.0f)
                                                                  : nearest;
}

// What one instruction makes of a sum: its products, exact, and the sum so far are aligned with the
// largest of them (by the exponents of the factors), cut off two bits below float32's last place,
// added up, and the result is cut to float32. Always toward zero.
float accumulated(float sum, const Features& a, const Features& b) {
  if (a.zero || b.zero) return sum;
  int largest = std::max(exponent_of(sum), kLeastExponent);
  for (size_t k = 0; k < kDepth; ++k) largest = std::max(largest, a.exponents[k] + b.exponents[k]);
  const double scale = std::ldexp(1.0, kFloatBits + kExtraBits - largest);
  auto aligned = static_cast<int64_t>(static_cast<double>(sum) * scale);
  for (size_t k = 0; k < kDepth; ++k) {
    const double product = static_cast<double>(a.values[k]) * static_cast<double>(b.values[k]);
    aligned += static_cast<int64_t>(product * scale);
  }
  return truncated(static_cast<double>(aligned) / scale);
}

// An operand: K-major rows of 128 swizzled bytes in groups of 8 rows.
struct Operand {
  uint32_t start;
  uint32_t group;  // bytes between groups

  explicit Operand(uint64_t descriptor)
      : start(place(current_rank(), static_cast<uint32_t>(descriptor & 0x3fff) << 4)),
        group(static_cast<uint32_t>(descriptor >> 32 & 0x3fff) << 4) {
    if (descriptor >> 62 != 1) fail("product: the operand's swizzle is not that of 128 bytes");
    if ((descriptor >> 49 & 7) != 0 || (start >> 7 & 7) != 0) {
      fail("product: the operand does not start where the swizzle's pattern does");
    }
  }

  Features features(int row) const {
    constexpr size_t kChunk = 8;  // 16 bytes that the swizzle keeps together
    std::array<uint16_t, kDepth> bits;
    for (size_t k = 0; k < kDepth; k += kChunk) {
      const uint32_t address = start + static_cast<uint32_t>(row) / kGroupRows * group +
                               static_cast<uint32_t>(row) % kGroupRows * kRowBytes +
                               static_cast<uint32_t>(k) * 2;
      std::memcpy(&bits[k], memory(address ^ (address >> 7 & 7u) << 4), kChunk * 2);
    }
    Features found;
    found.zero = bits == std::array<uint16_t, kDepth>{};
    for (size_t k = 0; k < kDepth && !found.zero; ++k) {
      found.values[k] = from_bfloat16(bits[k]);
      found.exponents[k] = exponent_of(found.values[k]);
    }
    return found;
  }

  // The boxes that hold it, which this warp must know to have arrived.
  void read(int rows) const {
    for (uint32_t first = 0; first < static_cast<uint32_t>(rows); first += kGroupRows) {
      const uint32_t begin = start + first / kGroupRows * group;
      const uint32_t end = begin + (kGroupRows - 1) * kRowBytes + kDepth * 2;
      const auto holds = [begin, end](const Box& box) {
        return begin >= box.start && end <= box.start + box.bytes;
      };
      const auto box = std::find_if(boxes.begin(), boxes.end(), holds);
      if (box == boxes.end()) fail("product: an operand is no box that was copied");
      const auto seen = warp().observed.find(box->barrier);
      if (!box->arrived || seen == warp().observed.end() || seen->second <= box->phase) {
        fail("product: an operand is read before its copy was waited for");
      }
      Reading& reading = box->readings[warp_number()];
      reading.under_way = true;
      reading.group = warp().groups;
    }
  }
};

void together(int line) { warp_barrier(0xffffffffu, line); }

}  // namespace

uint32_t shared_address(const void* pointer) {
  const auto* byte = static_cast<const unsigned char*>(pointer);
  const unsigned char* start = shared_start(current_rank());
  if (byte < start || byte >= start + shared_bytes()) {
    fail("memory: no address of the block's shared memory");
  }
  return base + static_cast<uint32_t>(byte - start);
}

void barrier_init(uint64_t* barrier, int arrivals) {
  const uint32_t at = place(barrier);
  if (at % 8 != 0 || arrivals < 1 || arrivals >= 1 << 20) fail("barrier: refused");
  if (barriers.count(at)) fail("barrier: it is initialised twice");
  Barrier& own = barriers[at];
  own.arrivals = own.pending = arrivals;
  own.creator = thread();
  own.created_after = barriers_passed();
  own.cluster_after = cluster_barriers_passed();
}

void barrier_init_done() {
  for (auto& [at, barrier] : barriers) barrier.fenced |= barrier.creator == thread();
}

void barrier_expect(uint64_t* object, uint32_t bytes) {
  Barrier& barrier = find(place(object));
  barrier.transfer += bytes;
  if (barrier.transfer > kMostTransfer) fail("barrier: more bytes than a phase counts");
  arrive(barrier);
  complete_if_due(barrier);
}

void barrier_arrive(uint64_t* object, int rank) {
  Barrier& barrier = find(place(rank, shared_address(object)));
  arrive(barrier);
  complete_if_due(barrier);
}

void barrier_wait(uint64_t* object, uint32_t parity) {
  const uint32_t at = place(object);
  Barrier* barrier = &find(at);
  wait_until([barrier, parity] { return (barrier->phase & 1) != parity; });
  warp().observed[at] = barrier->phase;
  join(warp().clock, barrier->published);
}

// Takes the box away that lies in [start, start + bytes), if nobody needs it any more.
static void overwrite(uint32_t start, uint32_t bytes) {
  for (auto over = boxes.begin(); over != boxes.end();) {
    if (!overlap(*over, start, bytes)) {
      ++over;
      continue;
    }
    if (!over->arrived) fail("copy: a box overwrites one that is under way");
    for (const auto& [reader, reading] : over->readings) {
      if (reading.under_way || warp().clock[static_cast<size_t>(reader)] < reading.retired_at) {
        fail("copy: a box overwrites an operand that warp %d may still read", reader);
      }
    }
    over = boxes.erase(over);
  }
}

void copy_box(void* target, const CUtensorMap* map, uint64_t* object, int feature, int row) {
  copy_box(target, map, object, feature, row, 1u << current_rank());
}

void copy_box(void* target, const CUtensorMap* map, uint64_t* object, int feature, int row,
              unsigned ranks) {
  if (map->encoded != 1) fail("copy: the map was not encoded");
  const uint32_t start = shared_address(target);
  const uint32_t bytes = map->box[0] * 2 * map->box[1];
  if (start % kRowBytes != 0) fail("copy: the target is misaligned");
  if (start + bytes > base + shared_bytes()) {
    fail("memory: a box ends outside the block's shared memory");
  }
  std::vector<unsigned char> content(bytes, 0);
  // What lies outside the matrix arrives as zeros.
  const auto columns = static_cast<int64_t>(map->sizes[0]);
  const int64_t inside = std::min<int64_t>(map->box[0], columns - feature);
  for (uint32_t r = 0; r < map->box[1]; ++r) {
    const int64_t from = row + static_cast<int64_t>(r);
    if (from < 0 || from >= static_cast<int64_t>(map->sizes[1]) || inside <= 0) continue;
    const unsigned char* source = map->address + static_cast<uint64_t>(from) * map->stride +
                                  static_cast<uint64_t>(feature) * 2;
    check_read(source, static_cast<size_t>(inside) * 2);
    std::memcpy(content.data() + r * map->box[0] * 2, source, static_cast<size_t>(inside) * 2);
  }

  // To the same place in each block, where its own barrier counts the bytes.
  if (ranks == 0 || ranks >> cluster_size() != 0) fail("cluster: it has no blocks %x", ranks);
  for (int rank = 0; rank < cluster_size(); ++rank) {
    if ((ranks >> rank & 1u) == 0) continue;
    Box box;
    box.start = place(rank, start);
    box.bytes = bytes;
    box.barrier = place(rank, shared_address(object));
    const Barrier& barrier = find(box.barrier);
    if (!barrier.fenced) fail("copy: the engine has not been told of the barrier");
    box.phase = barrier.phase;
    box.content = content;
    overwrite(box.start, bytes);
    boxes.push_back(std::move(box));
  }
}

void multiply_begin(int line) {
  together(line);
  state().fenced = true;
}

void multiply(float* sums, int columns, uint64_t a, uint64_t b, bool add, int line) {
  together(line);
  if (!state().fenced) fail("product: no fence orders the sums' registers before it");
  // All warps of the group issue the same products in the same order.
  const Product product = {a, b, add};
  const size_t at = state().products++;
  const int first = warp_number() / kWarpgroup * kWarpgroup;
  for (int other = first; other < first + kWarpgroup; ++other) {
    const auto& issued = warps[static_cast<size_t>(other)].issued;
    if (issued.size() > at && (issued[at].a != a || issued[at].b != b || issued[at].add != add)) {
      fail("product: warps %d and %d of a group issue different ones", other, warp_number());
    }
  }
  if (warp().issued.size() == at) warp().issued.push_back(product);

  const Operand left(a);
  const Operand right(b);
  if (thread() % kWarp == 0) {  // for its warp
    left.read(kRows);
    right.read(columns);
  }
  auto found = state().sums.find(sums);
  if (found == state().sums.end()) {
    Sums fresh;
    fresh.values.assign(sums, sums + kRows * columns / (kWarpgroup * kWarp));
    found = state().sums.emplace(sums, fresh).first;
  }
  Sums& own = found->second;
  own.group = warp().groups;
  const int in_group = thread() % (kWarpgroup * kWarp);
  const int row = in_group / kWarp * 16 + in_group % kWarp / 4;
  const Features rows[2] = {left.features(row), left.features(row + 8)};
  for (int pair = 0; pair < columns / 4; ++pair) {
    const int column = pair / 2 * 8 + in_group % 4 * 2 + pair % 2;
    const Features features = right.features(column);
    for (int half = 0; half < 2; ++half) {
      const int v = pair / 2 * 4 + half * 2 + pair % 2;
      float& sum = own.values[static_cast<size_t>(v)];
      sum = accumulated(add ? sum : 0.0f, rows[half], features);
      sums[v] = std::numeric_limits<float>::quiet_NaN();
    }
  }
  warp().uncommitted = true;
}

void warp_multiply(float* sums, const uint32_t* a, const uint32_t* b, bool add, int line) {
  const int lane = thread() % kWarp;
  auto& lanes = warp().lanes;
  WarpOperand& own = lanes[static_cast<size_t>(lane)];
  std::copy(a, a + own.a.size(), own.a.begin());
  std::copy(b, b + own.b.size(), own.b.begin());
  own.add = add;
  together(line);
  // Row `group` of a or column `group` of b: the quad of lanes, each two entries, then two of the
  // second half.
  const auto gathered = [&lanes](int group, const auto& word) {
    Features found;
    for (int k = 0; k < kDepth; ++k) {
      const WarpOperand& from = lanes[static_cast<size_t>(4 * group + k % 8 / 2)];
      const auto at = static_cast<size_t>(k);
      found.values[at] = from_bfloat16(static_cast<uint16_t>(word(from, k / 8) >> k % 2 * 16));
      found.exponents[at] = exponent_of(found.values[at]);
    }
    return found;
  };
  for (int v = 0; v < 4; ++v) {
    const auto half = static_cast<size_t>(v / 2);
    const Features row = gathered(lane / 4, [half](const WarpOperand& from, int part) {
      return from.a[static_cast<size_t>(part) * 2 + half];
    });
    const Features column = gathered(lane % 4 * 2 + v % 2, [](const WarpOperand& from, int part) {
      return from.b[static_cast<size_t>(part)];
    });
    sums[v] = accumulated(add ? sums[v] : 0.0f, row, column);
  }
  for (const WarpOperand& other : lanes) {
    if (other.add != add) fail("product: lanes of a warp disagree on whether it is added");
  }
  together(line);
}

void multiply_commit(int line) {
  together(line);
  // Once for the warp: the lane that finds its products uncommitted.
  if (warp().uncommitted) {
    warp().uncommitted = false;
    ++warp().groups;
  }
}

void multiply_wait(int left, int line) {
  together(line);
  const uint64_t done =
      warp().groups - std::min<uint64_t>(warp().groups, static_cast<uint64_t>(left));
  for (Box& box : boxes) {
    const auto found = box.readings.find(warp_number());
    if (found == box.readings.end() || !found->second.under_way) continue;
    if (found->second.group < done) {
      found->second.under_way = false;
      found->second.retired_at = own_time();
    }
  }
  for (auto own = state().sums.begin(); own != state().sums.end();) {
    if (own->second.group >= done) {
      ++own;
      continue;
    }
    std::copy(own->second.values.begin(), own->second.values.end(), own->first);
    own = state().sums.erase(own);
    state().fenced = false;  // the registers may now be read and written
  }
}

void set_registers(int count, bool take, int line) {
  together(line);
  if (count < 24 || count > 256 || count % 8 != 0) fail("registers: %d cannot be asked for", count);
  const auto block_threads = static_cast<uint32_t>(threads_of_block());
  const auto launched = kRegisterFile / block_threads / 8 * 8;
  const auto wanted = static_cast<uint32_t>(count);
  WarpState* own = &warp();
  if (take ? wanted < launched : wanted > launched) fail("registers: %d is the wrong way", count);
  // The block's pool is what it was launched with, not the whole file.
  const uint32_t pool = launched * block_threads;
  const size_t block_warps = block_threads / kWarp;
  const size_t first = static_cast<size_t>(current_rank()) * block_warps;
  wait_until([own, wanted, launched, pool, first, block_warps] {
    uint32_t used = 0;
    for (size_t w = first; w < first + block_warps; ++w) {
      const WarpState& each = warps[w];
      const uint32_t has = &each == own ? wanted : (each.registers ? each.registers : launched);
      used += has * kWarp;
    }
    return used <= pool;
  });
  own->registers = wanted;
}

void start_cluster(int count, uint64_t seed) {
  barriers.clear();
  boxes.clear();
  warps.assign(static_cast<size_t>((count + kWarp - 1) / kWarp), WarpState());
  for (size_t w = 0; w < warps.size(); ++w) warps[w].clock[w] = 1;
  threads.assign(static_cast<size_t>(count), ThreadState());
  base = 1024 + static_cast<uint32_t>(seed % 64) * 16;
}

void synchronised(int begin, int end) {
  const auto first = static_cast<size_t>(begin / kWarp);
  const auto beyond = static_cast<size_t>((end + kWarp - 1) / kWarp);
  Clock all{};
  for (size_t w = first; w < beyond; ++w) join(all, warps[w].clock);
  for (size_t w = first; w < beyond; ++w) {
    warps[w].clock = all;
    ++warps[w].clock[w];
  }
}

bool advance(uint64_t random) {
  std::vector<Box*> under_way;
  for (Box& box : boxes) {
    if (!box.arrived) under_way.push_back(&box);
  }
  if (under_way.empty()) return false;
  land(*under_way[random % under_way.size()]);
  return true;
}

void end_cluster() {
  for (const Box& box : boxes) {
    const bool known = std::any_of(warps.begin(), warps.end(), [&](const WarpState& each) {
      const auto seen = each.observed.find(box.barrier);
      return seen != each.observed.end() && seen->second > box.phase;
    });
    if (!known) fail("copy: the block ends before anybody has waited for a box");
    for (const auto& [reader, reading] : box.readings) {
      if (reading.under_way) fail("product: warp %d leaves before its sums are there", reader);
    }
  }
}

// ---- the driver's function ----

namespace {

CUresult encode(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* address,
                const cuuint64_t* sizes, const cuuint64_t* strides, const cuuint32_t* box,
                const cuuint32_t* steps, CUtensorMapInterleave interleave,
                CUtensorMapSwizzle swizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  const bool known = type == CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 && rank == 2 &&
                     interleave == CU_TENSOR_MAP_INTERLEAVE_NONE &&
                     swizzle == CU_TENSOR_MAP_SWIZZLE_128B && steps[0] == 1 && steps[1] == 1;
  const bool fits = reinterpret_cast<uintptr_t>(address) % 16 == 0 && strides[0] % 16 == 0 &&
                    strides[0] < 1ull << 40 && strides[0] >= sizes[0] * 2 && sizes[0] > 0 &&
                    sizes[1] > 0 && sizes[0] <= 1ull << 32 && sizes[1] <= 1ull << 32 &&
                    box[0] > 0 && box[1] > 0 && box[1] <= 256 && box[0] * 2 == kRowBytes;
  if (!known || !fits || reinterpret_cast<uintptr_t>(map) % 64 != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  *map = {};
  map->address = static_cast<const unsigned char*>(address);
  std::copy(sizes, sizes + 2, map->sizes);
  map->stride = strides[0];
  std::copy(box, box + 2, map->box);
  map->encoded = 1;
  return CUDA_SUCCESS;
}

}  // namespace

}  // namespace emulator::hopper

void* emulator::driver_function(const char* name) {
  return std::strcmp(name, "cuTensorMapEncodeTiled") == 0 ? reinterpret_cast<void*>(&hopper::encode)
                                                          : nullptr;
}
