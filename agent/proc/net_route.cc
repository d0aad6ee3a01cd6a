#include "agent/proc/net_route.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace trunkline {
namespace {

// Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
constexpr size_t kInterface = 0;
constexpr size_t kDestination = 1;
constexpr size_t kFlags = 3;
constexpr size_t kMetric = 6;
constexpr size_t kMask = 7;
constexpr uint32_t kUp = 1;

// Destination, its prefix, source, its prefix, next hop, metric, references, use, flags, interface.
// All numbers are hexadecimal.
constexpr size_t kDestination6 = 0;
constexpr size_t kPrefix6 = 1;
constexpr size_t kMetric6 = 5;
constexpr size_t kFlags6 = 8;
constexpr size_t kInterface6 = 9;
// The kernel lists an unreachable default route on lo for each table.
constexpr uint32_t kReject = 0x0200;

}  // namespace

absl::StatusOr<std::string> ParseDefaultInterface6(absl::string_view proc_net_ipv6_route) {
  std::string best;
  uint64_t best_metric = std::numeric_limits<uint64_t>::max();
  for (absl::string_view line : absl::StrSplit(proc_net_ipv6_route, '\n', absl::SkipEmpty())) {
    const std::vector<absl::string_view> fields =
        absl::StrSplit(line, absl::ByAnyChar("\t "), absl::SkipEmpty());
    if (fields.empty()) continue;
    uint32_t prefix = 0, metric = 0, flags = 0;
    if (fields.size() <= kInterface6 || !absl::SimpleHexAtoi(fields[kPrefix6], &prefix) ||
        !absl::SimpleHexAtoi(fields[kMetric6], &metric) ||
        !absl::SimpleHexAtoi(fields[kFlags6], &flags)) {
      return absl::InvalidArgumentError(
          "net/ipv6_route: a line lacks a valid prefix, metric, flags or interface");
    }
    const bool is_default =
        prefix == 0 && fields[kDestination6].find_first_not_of('0') == absl::string_view::npos &&
        (flags & kUp) != 0 && (flags & kReject) == 0;
    if (!is_default || metric >= best_metric) continue;
    best = std::string(fields[kInterface6]);
    best_metric = metric;
  }
  if (best.empty()) return absl::NotFoundError("net/ipv6_route: no default route");
  return best;
}

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
