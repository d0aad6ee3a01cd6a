#include "agent/proc/netstat.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace trunkline {

absl::StatusOr<uint64_t> ParseListenOverflows(absl::string_view proc_net_netstat) {
  // A line of names is followed by a line of values; both start with "TcpExt:". New kernels add
  // names at any position.
  std::vector<absl::string_view> names;
  for (absl::string_view line : absl::StrSplit(proc_net_netstat, '\n')) {
    if (!absl::StartsWith(line, "TcpExt:")) continue;
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (names.empty()) {
      names = fields;
      continue;
    }
    const size_t column = static_cast<size_t>(
        std::find(names.begin(), names.end(), "ListenOverflows") - names.begin());
    uint64_t value = 0;
    if (names.size() != fields.size() || column >= fields.size() ||
        !absl::SimpleAtoi(fields[column], &value)) {
      return absl::InvalidArgumentError("net/netstat: no number under TcpExt ListenOverflows");
    }
    return value;
  }
  return absl::InvalidArgumentError("net/netstat: no TcpExt lines");
}

}  // namespace trunkline
