#include "agent/proc/net_route.h"

#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace trunkline {
namespace {

// Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
constexpr size_t kInterface = 0;
constexpr size_t kDestination = 1;
constexpr size_t kFlags = 3;
constexpr size_t kMetric = 6;
constexpr size_t kMask = 7;
constexpr uint32_t kUp = 1;

}  // namespace

absl::StatusOr<std::string> ParseDefaultInterface(absl::string_view proc_net_route) {
  std::string best;
  uint64_t best_metric = std::numeric_limits<uint64_t>::max();
  bool header = true;
  for (absl::string_view line : absl::StrSplit(proc_net_route, '\n', absl::SkipEmpty())) {
    if (std::exchange(header, false)) continue;
    const std::vector<absl::string_view> fields =
        absl::StrSplit(line, absl::ByAnyChar("\t "), absl::SkipEmpty());
    if (fields.empty()) continue;
    uint32_t destination = 0, flags = 0, mask = 0, metric = 0;
    if (fields.size() <= kMask || !absl::SimpleHexAtoi(fields[kDestination], &destination) ||
        !absl::SimpleHexAtoi(fields[kFlags], &flags) ||
        !absl::SimpleAtoi(fields[kMetric], &metric) || !absl::SimpleHexAtoi(fields[kMask], &mask)) {
      return absl::InvalidArgumentError(
          "net/route: a line lacks a valid destination, flags, metric or mask");
    }
    const bool is_default = destination == 0 && mask == 0 && (flags & kUp) != 0;
    if (!is_default || metric >= best_metric) continue;
    best = std::string(fields[kInterface]);
    best_metric = metric;
  }
  if (best.empty()) return absl::NotFoundError("net/route: no default route");
  return best;
}

}  // namespace trunkline
