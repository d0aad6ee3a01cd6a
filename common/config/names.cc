#include "common/config/names.h"

#include <algorithm>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/absl_view.h"

namespace trunkline {
namespace {

bool IsNameCharacter(char c) { return c > ' ' && c < 127 && c != '/'; }

}  // namespace

bool IsName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameLength &&
         std::all_of(name.begin(), name.end(), IsNameCharacter);
}

absl::Status CheckName(std::string_view field, std::string_view name) {
  if (IsName(name)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(AbslView(field), ": expected 1 to ", kMaxNameLength,
                   " printable ASCII characters without spaces and slashes; got \"",
                   absl::CEscape(AbslView(name.substr(0, kMaxNameLength))), "\""));
}

}  // namespace trunkline
