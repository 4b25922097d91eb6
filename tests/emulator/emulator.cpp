// SPDX-License-Identifier: MIT
// The emulator: fibers, barriers, and the checks behind the compiler's __tsan_ calls. This file is
// compiled without -fsanitize. See emulator.h for what it reports.
#include "emulator.h"

#include <link.h>
#include <setjmp.h>
#include <signal.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "cuda_runtime.h"
#include "hopper.h"
#include "threads.h"

uint3 threadIdx;
uint3 blockIdx;
dim3 blockDim;
dim3 gridDim;

namespace emulator {

Machine machine;

namespace {

constexpr int kWarp = 32;
// In place of a source lane: a warp barrier without data, and a ballot.
constexpr int kBarrierOnly = -1;
constexpr int kBallot = -2;
constexpr size_t kStackBytes = 128 * 1024;
constexpr size_t kSharedBytes = 48 * 1024;  // without opting in to more
constexpr size_t kWord = 4;                 // what races and initialisation are tracked by
constexpr size_t kRedZone = 256;  // around every buffer: strays land in memory nobody owns

// The blocks' dynamic shared memory, with room to keep a stray store harmless.
struct alignas(256) SharedMemory {
  unsigned char bytes[kMostSharedBytes + 16 * 1024];
};
SharedMemory shared_memory[kMostClusterBlocks];

enum class Wait { kNothing, kBarrier, kCluster, kWarp, kCondition };
enum class Access { kRead, kWrite, kAtomic };

// A fiber starts from a context of its own and is left and entered by jumps from then on: switching
// contexts would ask the system for the signal mask, which takes longer than most turns.
struct Fiber {
  ucontext_t start;
  jmp_buf place;
  bool started = false;
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  bool done = false;
  Wait wait = Wait::kNothing;
  int line = 0;
  unsigned mask = 0;
  int source_lane = kBarrierOnly;
  uint64_t value = 0;
  std::function<bool()> ready;
};

// One of the blocks that run together: those of a cluster, or one.
struct Block {
  uint64_t serial;  // over all launches, from 1
  int index;        // in the grid
  uint3 place;
  uint32_t barriers;  // passed
};

// Who touched a word last, and after which barriers.
struct Stamp {
  uint64_t block = 0;  // serial number; 0: nobody
  uint64_t time = 0;
  int block_index = 0;
  int thread = 0;  // counted over the cluster, as everywhere here
  uint32_t barriers = 0;
  uint32_t warp_barriers = 0;
};

struct Word {
  Stamp writer;
  Stamp readers[2];  // the latest two different ones: at least one is not the next writer
  bool atomic = false;
  bool written = false;
};

struct Buffer {
  std::unique_ptr<unsigned char[]> memory;
  std::vector<Word> words;
  size_t bytes = 0;
};

// What a thread did up to its last fence, as another block may come to know it: an atomic operation
// after the fence passes it on, one on the same word takes it, a fence after that makes it count.
// Cumulative over a warp that met at __syncwarp in between.
using Knowledge = std::map<std::pair<uint64_t, int>, uint64_t>;  // (block, thread): until when
struct Fence {
  uint64_t time = 0;
  uint32_t warp_barriers = 0;
  Knowledge known;  // of other blocks
};

// A copy on its way to shared memory.
struct Copy {
  unsigned char* target;
  std::vector<unsigned char> bytes;
  uint64_t group;
};
struct Copies {
  std::vector<Copy> pending;
  uint64_t groups = 0;  // committed
};

std::vector<Block> cluster;
std::vector<Copies> copies;           // of the threads of the cluster
std::map<uintptr_t, Buffer> buffers;  // by the address of the first byte
std::map<const Word*, Knowledge> passed_on;
std::vector<Fence> fences;     // of the threads of the cluster
std::vector<Knowledge> taken;  // by its warps
bool any_fence = false;        // in this cluster
uint64_t now = 0;              // counts accesses
constexpr size_t kSharedWords = kMostSharedBytes / kWord;
std::vector<Word> shared_words(kMostClusterBlocks* kSharedWords);
std::vector<std::unique_ptr<Fiber>> fibers;
std::vector<uint32_t> warp_barriers;
jmp_buf scheduler;
const Kernel* kernel = nullptr;
Fiber* current = nullptr;  // null while host code runs
int current_thread = 0;
int block_threads = 0;
int cluster_threads = 0;
uint64_t blocks_begun = 0;
uint64_t first_block_of_launch = 0;
uint32_t cluster_barriers = 0;  // passed
bool failed = false;
char message[512] = "";

int rank_of(int thread) { return thread / block_threads; }
Block& current_block() { return cluster[static_cast<size_t>(rank_of(current_thread))]; }

}  // namespace

void fail(const char* format, ...) {
  if (!failed) {
    va_list arguments;
    va_start(arguments, format);
    const int used = vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (current && used >= 0 && static_cast<size_t>(used) < sizeof message) {
      snprintf(message + used, sizeof message - static_cast<size_t>(used), " (block %d, thread %d)",
               current_block().index, current_thread % block_threads);
    }
  }
  failed = true;
  if (current) {
    current = nullptr;
    _longjmp(scheduler, 1);
  }
}

int current_thread_number() { return current_thread; }
int threads_of_block() { return block_threads; }
int current_rank() { return rank_of(current_thread); }
int cluster_size() { return static_cast<int>(cluster.size()); }
uint32_t barriers_passed() { return current_block().barriers; }
uint32_t cluster_barriers_passed() { return cluster_barriers; }
unsigned char* shared_start(int rank) { return shared_memory[rank].bytes; }
unsigned char* block_memory() { return shared_start(current_rank()); }
size_t shared_bytes() { return kernel->shared_bytes; }

bool has_left(int rank) {
  const auto first = fibers.begin() + rank * block_threads;
  return std::all_of(first, first + block_threads, [](const auto& own) { return own->done; });
}

namespace {

// ---- memory ----

bool in_range(uintptr_t address, size_t bytes, uintptr_t start, size_t length) {
  return address >= start && address - start <= length && bytes <= length - (address - start);
}

struct Image {
  uintptr_t start = 0;
  size_t bytes = 0;
};

// The addresses of this library: kernels read constants and the thread's coordinates there.
const Image& own_image() {
  static const Image image = [] {
    Image found;
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* result) {
          uintptr_t low = UINTPTR_MAX;
          uintptr_t high = 0;
          for (int i = 0; i < info->dlpi_phnum; ++i) {
            if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
            const uintptr_t start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
            low = std::min(low, start);
            high = std::max(high, start + info->dlpi_phdr[i].p_memsz);
          }
          const auto own = reinterpret_cast<uintptr_t>(&threadIdx);
          if (own < low || own >= high) return 0;
          *static_cast<Image*>(result) = {low, high - low};
          return 1;
        },
        &found);
    return found;
  }();
  return image;
}

bool unordered(const Stamp& stamp) {
  if (stamp.block < first_block_of_launch) return false;  // an earlier launch of the stream
  const Block& own = current_block();
  if (stamp.block != own.serial) {
    const Knowledge& known = fences[static_cast<size_t>(current_thread)].known;
    const auto found = known.find({stamp.block, stamp.thread});
    return found == known.end() || found->second < stamp.time;
  }
  if (stamp.thread == current_thread || stamp.barriers != own.barriers) return false;
  const int warp = current_thread / kWarp;
  return stamp.thread / kWarp != warp ||
         stamp.warp_barriers == warp_barriers[static_cast<size_t>(warp)];
}

// An atomic operation passes on what its warp's fences cover, and takes what was passed on before.
void pass_on(const Word& word) {
  const size_t warp = static_cast<size_t>(current_thread / kWarp);
  const auto found = passed_on.find(&word);
  if (found != passed_on.end()) {
    for (const auto& [who, time] : found->second) {
      uint64_t& until = taken[warp][who];
      until = std::max(until, time);
    }
  }
  if (!any_fence) return;
  for (int lane = 0; lane < kWarp; ++lane) {
    const int thread = current_thread / kWarp * kWarp + lane;
    if (thread >= cluster_threads) break;
    const Fence& fence = fences[static_cast<size_t>(thread)];
    const bool met = thread == current_thread || fence.warp_barriers < warp_barriers[warp];
    if (fence.time == 0 || !met) continue;
    Knowledge& known = passed_on[&word];
    known[{current_block().serial, thread}] = fence.time;
    for (const auto& [who, time] : fence.known) {
      uint64_t& until = known[who];
      until = std::max(until, time);
    }
  }
}

void touch(Word& word, Access access, const char* where) {
  if (access != Access::kWrite && !word.written) {
    fail("init: %s memory is read before it is written", where);
  }
  const bool both_atomic = access == Access::kAtomic && word.atomic;
  if (word.writer.block && !both_atomic && unordered(word.writer)) {
    fail("race: %s memory that thread %d of block %d wrote is %s without a barrier", where,
         word.writer.thread % block_threads, word.writer.block_index,
         access == Access::kRead ? "read" : "written");
  }
  if (access != Access::kRead) {
    for (const Stamp& reader : word.readers) {
      if (reader.block && unordered(reader)) {
        fail("race: %s memory that thread %d of block %d read is written without a barrier", where,
             reader.thread % block_threads, reader.block_index);
      }
    }
  }
  const Block& block = current_block();
  const Stamp own = {block.serial,   ++now,
                     block.index,    current_thread,
                     block.barriers, warp_barriers[static_cast<size_t>(current_thread / kWarp)]};
  if (access == Access::kRead) {
    if (word.readers[0].block != own.block || word.readers[0].thread != own.thread) {
      word.readers[1] = word.readers[0];
    }
    word.readers[0] = own;
  } else {
    word.writer = own;
    word.atomic = access == Access::kAtomic;
    word.written = true;
  }
}

Buffer* buffer_of(uintptr_t address, size_t bytes) {
  auto after = buffers.upper_bound(address);
  if (after == buffers.begin()) return nullptr;
  auto& entry = *std::prev(after);
  return in_range(address, bytes, entry.first, entry.second.bytes) ? &entry.second : nullptr;
}

void check(const void* pointer, size_t bytes, Access access) {
  if (!current || failed) return;
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  const auto stack = reinterpret_cast<uintptr_t>(current->stack.get());
  if (in_range(address, bytes, stack, kStackBytes)) return;

  std::vector<Word>* words = nullptr;
  size_t offset = 0;
  const char* where = "shared";
  const auto shared = reinterpret_cast<uintptr_t>(block_memory());
  size_t first_word = 0;
  if (in_range(address, bytes, shared, kernel->shared_bytes)) {
    words = &shared_words;
    offset = address - shared;
    first_word = static_cast<size_t>(current_rank()) * kSharedWords;
  } else if (Buffer* buffer = buffer_of(address, bytes)) {
    words = &buffer->words;
    offset = address - reinterpret_cast<uintptr_t>(buffer->memory.get()) - kRedZone;
    where = "global";
  }
  if (words) {
    for (size_t word = offset / kWord; word <= (offset + bytes - 1) / kWord; ++word) {
      touch((*words)[first_word + word], access, where);
    }
    if (access == Access::kAtomic) pass_on((*words)[first_word + offset / kWord]);
    return;
  }

  const auto arguments = reinterpret_cast<uintptr_t>(kernel->arguments);
  if (access == Access::kRead && (in_range(address, bytes, arguments, kernel->argument_bytes) ||
                                  in_range(address, bytes, own_image().start, own_image().bytes))) {
    return;
  }
  for (const auto& fiber : fibers) {
    const auto other = reinterpret_cast<uintptr_t>(fiber->stack.get());
    if (in_range(address, 1, other, kStackBytes)) {
      fail("memory: %zu bytes of another thread's stack are %s", bytes,
           access == Access::kRead ? "read" : "written");
    }
  }
  fail("memory: %zu bytes outside every buffer are %s", bytes,
       access == Access::kRead ? "read" : "written");
}

void check_unaligned(const void* pointer, size_t bytes, Access access) {
  if (!current || failed) return;
  if (reinterpret_cast<uintptr_t>(pointer) % bytes != 0) {
    fail("memory: %zu bytes are accessed at a misaligned address", bytes);
  }
  check(pointer, bytes, access);
}

// ---- threads ----

void suspend() {
  Fiber* own = current;
  current = nullptr;
  if (_setjmp(own->place) == 0) _longjmp(scheduler, 1);
}

void enter_fiber() {
  while (true) {  // a turn for every block
    kernel->entry(kernel->arguments);
    current->done = true;
    suspend();
  }
}

void on_signal(int number) {
  if (!current) {  // not a kernel's doing: let it end the process as usual
    signal(number, SIG_DFL);
    raise(number);
    return;
  }
  fail(number == SIGILL || number == SIGTRAP
           ? "undefined: behaviour that the language does not define (signal %d)"
           : "memory: fault (signal %d)",
       number);
}

class Signals {
 public:
  Signals() {
    struct sigaction action = {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_NODEFER;  // the handler is left by a jump, and may be needed again
    for (size_t i = 0; i < kCount; ++i) sigaction(kNumbers[i], &action, &before_[i]);
  }
  ~Signals() {
    for (size_t i = 0; i < kCount; ++i) sigaction(kNumbers[i], &before_[i], nullptr);
  }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

 private:
  static constexpr size_t kCount = 5;
  static constexpr int kNumbers[kCount] = {SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGFPE};
  struct sigaction before_[kCount];
};

Fiber& fiber(int thread) { return *fibers[static_cast<size_t>(thread)]; }

void start_cluster(int first_block, int blocks) {
  cluster.clear();
  for (int rank = 0; rank < blocks; ++rank) {
    const int index = first_block + rank;
    const auto x = static_cast<unsigned>(index) % gridDim.x;
    const auto rest = static_cast<unsigned>(index) / gridDim.x;
    cluster.push_back({++blocks_begun, index, {x, rest % gridDim.y, rest / gridDim.y}, 0});
    std::fill_n(shared_words.begin() + static_cast<ptrdiff_t>(rank * kSharedWords),
                kernel->shared_bytes / kWord, Word());
    // All ones: a NaN, or an index far outside.
    std::memset(shared_start(rank), 0xff, kernel->shared_bytes);
  }
  cluster_threads = blocks * block_threads;
  cluster_barriers = 0;
  warp_barriers.assign(static_cast<size_t>((cluster_threads + kWarp - 1) / kWarp), 0);
  fences.assign(static_cast<size_t>(cluster_threads), Fence());
  taken.assign(warp_barriers.size(), Knowledge());
  any_fence = false;
  copies.assign(static_cast<size_t>(cluster_threads), {});
  hopper::start_cluster(cluster_threads, machine.seed);
  while (static_cast<int>(fibers.size()) < cluster_threads) {
    fibers.push_back(std::make_unique<Fiber>());
  }
  for (int i = 0; i < cluster_threads; ++i) {
    Fiber& own = fiber(i);
    own.wait = Wait::kNothing;
    const bool waits_for_work = own.started && own.done;
    own.done = false;
    if (waits_for_work) continue;
    own.started = false;
    getcontext(&own.start);
    own.start.uc_stack.ss_sp = own.stack.get();
    own.start.uc_stack.ss_size = kStackBytes;
    own.start.uc_link = nullptr;
    makecontext(&own.start, enter_fiber, 0);
  }
}

void resume(int thread) {
  const auto index = static_cast<unsigned>(thread % block_threads);
  threadIdx = {index % blockDim.x, index / blockDim.x % blockDim.y,
               index / (blockDim.x * blockDim.y)};
  current_thread = thread;
  blockIdx = current_block().place;
  current = &fiber(thread);
  if (_setjmp(scheduler) != 0) return;
  if (current->started) _longjmp(current->place, 1);
  current->started = true;
  setcontext(&current->start);
}

// Releases every group of lanes that has arrived in full. Returns whether there was one.
bool release_warps() {
  bool any = false;
  for (int first = 0; first < cluster_threads; first += kWarp) {
    const int lanes = std::min(kWarp, cluster_threads - first);
    for (int lane = 0; lane < lanes; ++lane) {
      Fiber& own = fiber(first + lane);
      if (own.done || own.wait != Wait::kWarp) continue;
      bool arrived = true;
      for (int other = 0; other < kWarp; ++other) {
        if (!(own.mask >> other & 1u)) continue;
        if (other >= lanes || fiber(first + other).done) {
          fail("sync: the mask %08x on line %d names lane %d, which has left or never was",
               own.mask, own.line, other);
          return false;
        }
        const Fiber& peer = fiber(first + other);
        arrived = arrived && peer.wait == Wait::kWarp && peer.mask == own.mask &&
                  peer.line == own.line &&
                  std::min(peer.source_lane, 0) == std::min(own.source_lane, 0);
      }
      if (!arrived) continue;
      if (own.source_lane == kBarrierOnly && own.mask == 0xffffffffu) {
        ++warp_barriers[static_cast<size_t>(first / kWarp)];
      }
      uint64_t votes = 0;
      for (int member = 0; member < lanes && own.source_lane == kBallot; ++member) {
        if (own.mask >> member & 1u) votes |= fiber(first + member).value << member;
      }
      uint64_t results[kWarp] = {};
      for (int member = 0; member < lanes; ++member) {
        if (!(own.mask >> member & 1u)) continue;
        const int source = fiber(first + member).source_lane;
        if (source == kBallot) results[member] = votes;
        if (source >= 0) {
          if (source >= kWarp || !(own.mask >> source & 1u)) {
            fail("sync: lane %d reads lane %d, which is not in the mask %08x (line %d)", member,
                 source, own.mask, own.line);
            return false;
          }
          results[member] = fiber(first + source).value;
        }
      }
      const unsigned mask = own.mask;
      for (int member = 0; member < lanes; ++member) {
        if (!(mask >> member & 1u)) continue;
        fiber(first + member).value = results[member];
        fiber(first + member).wait = Wait::kNothing;
      }
      any = true;
    }
  }
  return any;
}

// Releases the block's threads if all of them wait at __syncthreads.
bool release_barrier(int rank) {
  int waiting = 0;
  int done = 0;
  int line = 0;
  const int first = rank * block_threads;
  for (int i = first; i < first + block_threads; ++i) {
    const Fiber& own = fiber(i);
    done += own.done ? 1 : 0;
    if (own.done || own.wait != Wait::kBarrier) continue;
    if (waiting && own.line != line) {
      fail("sync: threads wait at different __syncthreads, lines %d and %d", line, own.line);
      return false;
    }
    line = own.line;
    ++waiting;
  }
  if (waiting && done) {
    fail("sync: %d threads wait at __syncthreads on line %d, %d have left the kernel", waiting,
         line, done);
    return false;
  }
  if (waiting != block_threads) return false;
  for (int i = first; i < first + block_threads; ++i) fiber(i).wait = Wait::kNothing;
  ++cluster[static_cast<size_t>(rank)].barriers;
  hopper::synchronised(first, first + block_threads);
  return true;
}

// ... the cluster's, if all that have not left the kernel wait for each other.
bool release_cluster() {
  int waiting = 0;
  for (int i = 0; i < cluster_threads; ++i) {
    if (fiber(i).done) continue;
    if (fiber(i).wait != Wait::kCluster) return false;
    ++waiting;
  }
  if (waiting == 0) return false;
  for (int i = 0; i < cluster_threads; ++i) fiber(i).wait = Wait::kNothing;
  for (Block& block : cluster) ++block.barriers;
  ++cluster_barriers;
  hopper::synchronised(0, cluster_threads);
  return true;
}

bool release_barriers() {
  bool any = false;
  for (int rank = 0; rank < cluster_size() && !failed; ++rank) any = release_barrier(rank) || any;
  return any || (!failed && release_cluster());
}

bool conditions() {
  for (int i = 0; i < cluster_threads; ++i) {
    if (!fiber(i).done && fiber(i).wait == Wait::kCondition) return true;
  }
  return false;
}

void run_cluster(int first_block, int blocks, std::mt19937_64& random) {
  start_cluster(first_block, blocks);
  std::vector<int> order(static_cast<size_t>(cluster_threads));
  std::iota(order.begin(), order.end(), 0);
  while (!failed) {
    if (machine.seed) std::shuffle(order.begin(), order.end(), random);
    int left = 0;
    bool moved = false;
    for (int thread : order) {
      Fiber& own = fiber(thread);
      if (!own.done && own.wait == Wait::kCondition && own.ready()) own.wait = Wait::kNothing;
      if (!own.done && own.wait == Wait::kNothing) {
        resume(thread);
        moved = true;
      }
      if (failed) return;
      left += own.done ? 0 : 1;
    }
    if (left == 0) {
      for (const auto& own : copies) {
        if (!own.pending.empty())
          fail("copy: the block ends before a thread has waited for its own");
      }
      hopper::end_cluster();
      return;
    }
    // Copies land at any time, and at the latest when everybody waits for one.
    if (machine.seed && random() % 2) moved = hopper::advance(random()) || moved;
    moved = release_warps() || moved;
    if (failed) return;
    if (!moved && !release_barriers() && !failed && !hopper::advance(random())) {
      fail(conditions() ? "sync: threads wait for a phase of a barrier that nothing completes"
                        : "sync: the threads of a block wait for each other at different places");
    }
  }
}

}  // namespace

void check_read(const void* address, size_t bytes) { check(address, bytes, Access::kRead); }

void wait_until(std::function<bool()> ready) {
  if (ready()) return;
  current->ready = std::move(ready);
  current->wait = Wait::kCondition;
  suspend();
}

void barrier(int line) {
  current->wait = Wait::kBarrier;
  current->line = line;
  suspend();
}

void cluster_barrier() {
  current->wait = Wait::kCluster;
  suspend();
}

uint64_t shuffle(unsigned mask, uint64_t value, int source_lane, int line) {
  Fiber& own = *current;
  if (!(mask >> (current_thread % kWarp) & 1u)) {
    fail("sync: a lane calls with a mask %08x that leaves it out (line %d)", mask, line);
  }
  own.wait = Wait::kWarp;
  own.line = line;
  own.mask = mask;
  own.source_lane = source_lane;
  own.value = value;
  suspend();
  return own.value;
}

void warp_barrier(unsigned mask, int line) { shuffle(mask, 0, kBarrierOnly, line); }

unsigned ballot(unsigned mask, bool value, int line) {
  return static_cast<unsigned>(shuffle(mask, value ? 1 : 0, kBallot, line));
}

void fence() {
  Fence& own = fences[static_cast<size_t>(current_thread)];
  const size_t warp = static_cast<size_t>(current_thread / kWarp);
  own.time = now;
  own.warp_barriers = warp_barriers[warp];
  own.known = taken[warp];
  any_fence = true;
}

void copy_async(void* shared, const void* source, size_t bytes, bool valid) {
  auto* target = static_cast<unsigned char*>(shared);
  if (!in_range(reinterpret_cast<uintptr_t>(target), bytes,
                reinterpret_cast<uintptr_t>(block_memory()), shared_bytes())) {
    fail("memory: a copy of %zu bytes ends outside the block's shared memory", bytes);
  }
  if ((reinterpret_cast<uintptr_t>(source) | reinterpret_cast<uintptr_t>(target)) % bytes != 0) {
    fail("memory: a copy of %zu bytes is misaligned", bytes);
  }
  Copies& own = copies[static_cast<size_t>(current_thread)];
  Copy copy = {target, std::vector<unsigned char>(bytes, 0), own.groups};
  if (valid) {
    check(source, bytes, Access::kRead);
    std::memcpy(copy.bytes.data(), source, bytes);
  }
  // It lands at any time from now on.
  check(target, bytes, Access::kWrite);
  std::memset(target, 0xff, bytes);
  const auto first = static_cast<size_t>(current_rank()) * kSharedWords +
                     static_cast<size_t>(target - block_memory()) / kWord;
  for (size_t word = 0; word < bytes / kWord; ++word) shared_words[first + word].written = false;
  own.pending.push_back(std::move(copy));
}

// The copies of the thread's groups before `end` land.
static void land_copies(uint64_t end) {
  auto& pending = copies[static_cast<size_t>(current_thread)].pending;
  auto copy = pending.begin();  // they are in the order of their groups
  for (; copy != pending.end() && copy->group < end; ++copy) {
    check(copy->target, copy->bytes.size(), Access::kWrite);
    std::memcpy(copy->target, copy->bytes.data(), copy->bytes.size());
  }
  pending.erase(pending.begin(), copy);
}

void wait_for_copies() { land_copies(UINT64_MAX); }

void commit_copies() { ++copies[static_cast<size_t>(current_thread)].groups; }

void wait_for_groups(uint64_t groups) {
  const uint64_t committed = copies[static_cast<size_t>(current_thread)].groups;
  land_copies(committed > groups ? committed - groups : 0);
}

void atomic_load(const void* address, void* value, size_t bytes) {
  if (reinterpret_cast<uintptr_t>(address) % bytes != 0) {
    fail("memory: an atomic of %zu bytes at a misaligned address", bytes);
  }
  check(address, bytes, Access::kAtomic);
  std::memcpy(value, address, bytes);
}

void atomic_store(void* address, const void* value, size_t bytes) {
  std::memcpy(address, value, bytes);
}

int run(const Kernel& launched) {
  if (failed) return cudaErrorLaunchFailure;  // as on a device, until it is reset
  const uint64_t blocks = uint64_t(launched.grid.x) * launched.grid.y * launched.grid.z;
  const uint64_t threads = uint64_t(launched.block.x) * launched.block.y * launched.block.z;
  if (machine.devices == 0) return cudaErrorNoDevice;
  const unsigned together = launched.cluster;
  if (blocks == 0 || launched.grid.x > static_cast<unsigned>(machine.most_blocks) || threads == 0 ||
      threads > 1024 || together > kMostClusterBlocks || launched.grid.x % together != 0 ||
      launched.shared_bytes > std::max(kSharedBytes, launched.most_shared_bytes)) {
    return cudaErrorInvalidConfiguration;
  }
  ++machine.kernels;
  machine.kernel_device = machine.device;
  kernel = &launched;
  gridDim = dim3(launched.grid.x, launched.grid.y, launched.grid.z);
  blockDim = dim3(launched.block.x, launched.block.y, launched.block.z);
  block_threads = static_cast<int>(threads);
  first_block_of_launch = blocks_begun + 1;
  passed_on.clear();

  std::mt19937_64 random(machine.seed);
  if (together > 1 && (machine.capability < 90 || threads % kWarp != 0)) {
    return cudaErrorNotSupported;  // a warp would hold threads of two blocks
  }
  std::vector<int> order(blocks / together);
  std::iota(order.begin(), order.end(), 0);
  if (machine.seed) std::shuffle(order.begin(), order.end(), random);
  const Signals signals;
  for (int each : order) {
    run_cluster(each * static_cast<int>(together), static_cast<int>(together), random);
    if (failed) return cudaErrorLaunchFailure;
  }
  return cudaSuccess;
}

int fill(void* memory, int value, size_t bytes) {
  Buffer* buffer = buffer_of(reinterpret_cast<uintptr_t>(memory), bytes);
  if (!buffer) {
    fail("memory: a fill of %zu bytes outside every buffer", bytes);
    return cudaErrorInvalidValue;
  }
  std::memset(memory, value, bytes);
  const size_t offset =
      static_cast<size_t>(static_cast<unsigned char*>(memory) - buffer->memory.get()) - kRedZone;
  for (size_t i = offset / kWord; i < (offset + bytes + kWord - 1) / kWord; ++i) {
    buffer->words[i].written = true;
  }
  return cudaSuccess;
}

}  // namespace emulator

// ---- what a test calls (through ctypes) ----

extern "C" {

void emulator_configure(uint64_t seed, int most_blocks, int devices) {
  emulator::machine.seed = seed;
  emulator::machine.most_blocks = most_blocks;
  emulator::machine.devices = devices;
  emulator::machine.device = 0;
  emulator::machine.capability = 90;
  emulator::machine.processors = 132;
  emulator::machine.last_error = 0;
  emulator::machine.kernel_device = -1;
  emulator::failed = false;
  emulator::message[0] = '\0';
}

// The compute capability, 90 for 9.0, and the multiprocessors, until emulator_configure.
void emulator_machine(int capability, int processors) {
  emulator::machine.capability = capability;
  emulator::machine.processors = processors;
}

// "" or what the first failure since emulator_configure was.
const char* emulator_error() { return emulator::message; }
uint64_t emulator_kernels() { return emulator::machine.kernels; }
int emulator_kernel_device() { return emulator::machine.kernel_device; }
int emulator_device() { return emulator::machine.device; }
int emulator_last_error() { return emulator::machine.last_error; }

// Device memory of exactly `bytes`, 256-byte aligned, filled with ones, which count as unwritten.
void* emulator_allocate(size_t bytes) {
  emulator::Buffer buffer;
  const size_t total = bytes + 2 * emulator::kRedZone;
  buffer.memory.reset(new (std::align_val_t(256)) unsigned char[total]);
  std::memset(buffer.memory.get(), 0xff, total);
  buffer.words.resize(bytes / emulator::kWord + 1);
  buffer.bytes = bytes;
  unsigned char* start = buffer.memory.get() + emulator::kRedZone;
  emulator::buffers[reinterpret_cast<uintptr_t>(start)] = std::move(buffer);
  return start;
}

void emulator_free(void* memory) { emulator::buffers.erase(reinterpret_cast<uintptr_t>(memory)); }

// 0, or -1 where the range is no device memory.
int emulator_write(void* to, const void* from, size_t bytes) {
  if (emulator::fill(to, 0, bytes) != cudaSuccess) return -1;
  std::memcpy(to, from, bytes);
  return 0;
}

// Copies back and counts the words that no kernel has written; -1 outside device memory.
int64_t emulator_read(void* to, const void* from, size_t bytes) {
  const auto address = reinterpret_cast<uintptr_t>(from);
  const emulator::Buffer* buffer = emulator::buffer_of(address, bytes);
  if (!buffer) return -1;
  std::memcpy(to, from, bytes);
  const size_t offset =
      address - reinterpret_cast<uintptr_t>(buffer->memory.get()) - emulator::kRedZone;
  int64_t unwritten = 0;
  for (size_t i = offset / emulator::kWord; i * emulator::kWord < offset + bytes; ++i) {
    unwritten += buffer->words[i].written ? 0 : 1;
  }
  return unwritten;
}

// ---- what the compiler calls before every access of an instrumented file ----

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

#define HUBPRUNE_ACCESS(size)                                           \
  void __tsan_read##size(void* address) {                               \
    emulator::check(address, size, emulator::Access::kRead);            \
  }                                                                     \
  void __tsan_write##size(void* address) {                              \
    emulator::check(address, size, emulator::Access::kWrite);           \
  }                                                                     \
  void __tsan_unaligned_read##size(void* address) {                     \
    emulator::check_unaligned(address, size, emulator::Access::kRead);  \
  }                                                                     \
  void __tsan_unaligned_write##size(void* address) {                    \
    emulator::check_unaligned(address, size, emulator::Access::kWrite); \
  }
HUBPRUNE_ACCESS(1)
HUBPRUNE_ACCESS(2)
HUBPRUNE_ACCESS(4)
HUBPRUNE_ACCESS(8)
HUBPRUNE_ACCESS(16)
#undef HUBPRUNE_ACCESS

void __tsan_read_range(void* address, size_t bytes) {
  emulator::check(address, bytes, emulator::Access::kRead);
}
void __tsan_write_range(void* address, size_t bytes) {
  emulator::check(address, bytes, emulator::Access::kWrite);
}

}  // extern "C"
