#include "agent/proc/net_dev.h"

#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace trunkline {
namespace {

constexpr size_t kReceivedBytes = 0;
constexpr size_t kSentBytes = 8;

}  // namespace

absl::StatusOr<NicCounters> ParseNetDev(absl::string_view proc_net_dev,
                                        absl::string_view interface) {
  for (absl::string_view line : absl::StrSplit(proc_net_dev, '\n')) {
    // An alias has a colon in its name. Old kernels put no space between the last colon and a long
    // first number.
    const size_t colon = line.rfind(':');
    if (colon == absl::string_view::npos) continue;
    if (absl::StripAsciiWhitespace(line.substr(0, colon)) != interface) continue;
    const std::vector<absl::string_view> fields =
        absl::StrSplit(line.substr(colon + 1), ' ', absl::SkipEmpty());
    NicCounters counters;
    if (fields.size() <= kSentBytes ||
        !absl::SimpleAtoi(fields[kReceivedBytes], &counters.received_bytes) ||
        !absl::SimpleAtoi(fields[kSentBytes], &counters.sent_bytes)) {
      return absl::InvalidArgumentError(
          absl::StrCat("net/dev: the line of ", interface, " lacks byte counters"));
    }
    return counters;
  }
  return absl::NotFoundError(absl::StrCat("net/dev: no interface ", interface));
}

}  // namespace trunkline
