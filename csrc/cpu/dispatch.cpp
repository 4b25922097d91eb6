// SPDX-License-Identifier: MIT
// Chooses the instruction-set level at run time. This file is compiled for the oldest level: it
// must run everywhere.
#include <atomic>
#include <cstring>

#include "cpu/kernels.h"

namespace hubprune::cpu {

#if defined(__x86_64__)
namespace v2 {
extern const KernelTable table;
}
namespace v3 {
extern const KernelTable table;
}
namespace v4 {
extern const KernelTable table;
}

static const KernelTable* const kTables[] = {&v2::table, &v3::table, &v4::table};

bool level_supported(int level) {
  switch (level) {
    case 0:
      return __builtin_cpu_supports("x86-64-v2");
    case 1:
      return __builtin_cpu_supports("x86-64-v3");
    case 2:
      return __builtin_cpu_supports("x86-64-v4");
    default:
      return false;
  }
}
#else
namespace generic {
extern const KernelTable table;
}

static const KernelTable* const kTables[] = {&generic::table};

bool level_supported(int level) { return level == 0; }
#endif

int level_count() { return static_cast<int>(sizeof kTables / sizeof kTables[0]); }

const KernelTable& level_table(int level) { return *kTables[level]; }

static const KernelTable* newest_supported() {
  const KernelTable* newest = kTables[0];
  for (int level = 0; level < level_count(); ++level) {
    if (level_supported(level)) newest = kTables[level];
  }
  return newest;
}

static std::atomic<const KernelTable*>& table_in_use() {
  static std::atomic<const KernelTable*> table{newest_supported()};
  return table;
}

const KernelTable& kernel_table() { return *table_in_use(); }

bool select_level(const char* level) {
  for (int i = 0; i < level_count(); ++i) {
    if (std::strcmp(kTables[i]->level, level) == 0 && level_supported(i)) {
      table_in_use() = kTables[i];
      return true;
    }
  }
  return false;
}

}  // namespace hubprune::cpu
