#include "controller/wire/page.h"

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "controller/core/load_report.h"

namespace trunkline {
namespace {

constexpr size_t kMaxShownToken = 64;

}  // namespace

std::string WritePageToken(const EndpointKey& last) { return last.ToString(); }

absl::StatusOr<std::optional<EndpointKey>> ReadPageToken(const std::string& token) {
  if (token.empty()) return std::nullopt;
  const std::vector<std::string> parts = absl::StrSplit(token, '/');
  if (parts.size() == 2) return EndpointKey{parts[0], parts[1]};
  return absl::InvalidArgumentError(
      absl::StrCat("page_token: expected the next_page_token of a response; got \"",
                   absl::CHexEscape(token.substr(0, kMaxShownToken)), "\""));
}

}  // namespace trunkline
