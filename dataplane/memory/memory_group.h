// The control group that the OOM killer looks at before it ends this process: of its own group and
// those around it, the one with the tightest memory limit.
//
// Versions 1 and 2, alone or beside each other. Edge: reads files through SystemFiles. Thread-safe:
// no state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/base/system_files.h"

namespace trunkline {

struct MemoryGroup {
  // Paths of its files: bytes in use, the limit, what the use consists of.
  std::string usage;
  std::string limit;
  std::string stat;
  int64_t limit_bytes = 0;  // at the time of the look
};

// Of the process `pid` ("self"). None: no group has a limit, or none can be read.
std::optional<MemoryGroup> FindMemoryGroup(const SystemFiles& files, const std::string& pid);

}  // namespace trunkline
