#include "agent/proc/sockstat.h"

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

absl::StatusOr<uint64_t> ParseTcpInUse(absl::string_view proc_net_sockstat) {
  for (absl::string_view line : absl::StrSplit(proc_net_sockstat, '\n')) {
    if (!absl::StartsWith(line, "TCP:") && !absl::StartsWith(line, "TCP6:")) continue;
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    uint64_t value = 0;
    // Names and values alternate; new kernels append names.
    for (size_t i = 1; i + 1 < words.size(); i += 2) {
      if (words[i] == "inuse" && absl::SimpleAtoi(words[i + 1], &value)) return value;
    }
  }
  return absl::InvalidArgumentError("net/sockstat: no number after inuse of TCP");
}

}  // namespace trunkline
