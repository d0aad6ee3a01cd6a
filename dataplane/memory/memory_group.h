// Finds the control group that is likely to trigger the OOM killer for this process: the one with
// the tightest memory limit among its own group and the groups around it.
//
// Supports versions 1 and 2, alone or together. Reads files through SystemFiles. Thread-safe: no
// state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/base/system_files.h"

namespace trunkline {

struct MemoryGroup {
  // Paths of the files with the bytes in use, the limit, and the parts of the use.
  std::string usage;
  std::string limit;
  std::string stat;
  int64_t limit_bytes = 0;  // when the group was found
};

// Finds the group of process `pid` ("self" for this one). Returns nullopt if no group has a limit
// or no limit can be read.
std::optional<MemoryGroup> FindMemoryGroup(const SystemFiles& files, const std::string& pid);

}  // namespace trunkline
