#include "common/config/config_values.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace trunkline {
namespace {

using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;

struct SizeUnit {
  absl::string_view name;
  double bytes;
};

// Longer names first: "KiB" ends in "B" too.
constexpr SizeUnit kSizeUnits[] = {
    {"KiB", 1024.0},
    {"MiB", 1024.0 * 1024},
    {"GiB", 1024.0 * 1024 * 1024},
    {"TiB", 1024.0 * 1024 * 1024 * 1024},
    {"KB", 1e3},
    {"MB", 1e6},
    {"GB", 1e9},
    {"TB", 1e12},
    {"B", 1.0},
};
// Doubles are exact below this; no configured size comes near.
constexpr double kMaxSizeBytes = 9007199254740992.0;

// A misspelt word longer than this is not worth comparing.
constexpr size_t kMaxComparedName = 64;

bool IsUnspecified(const EnumValueDescriptor& value) {
  return value.number() == 0 && absl::EndsWith(value.name(), "UNSPECIFIED");
}

std::vector<const EnumValueDescriptor*> ValuesOf(const EnumDescriptor& type) {
  std::vector<const EnumValueDescriptor*> values;
  for (int i = 0; i < type.value_count(); ++i) {
    if (!IsUnspecified(*type.value(i))) values.push_back(type.value(i));
  }
  return values;
}

// Of {CPU_AUTO, CPU_HOST}: 4. Of a single name nothing can be told.
size_t SharedPrefix(const std::vector<const EnumValueDescriptor*>& values) {
  if (values.size() < 2) return 0;
  absl::string_view shared = values.front()->name();
  for (const EnumValueDescriptor* value : values) {
    const absl::string_view name = value->name();
    const auto differs = std::mismatch(shared.begin(), shared.end(), name.begin(), name.end());
    shared = shared.substr(0, static_cast<size_t>(differs.first - shared.begin()));
  }
  const size_t underscore = shared.rfind('_');
  return underscore == shared.npos ? 0 : underscore + 1;
}

// Insertions, deletions and replacements that lead from one to the other.
size_t EditDistance(absl::string_view a, absl::string_view b) {
  a = a.substr(0, kMaxComparedName);
  b = b.substr(0, kMaxComparedName);
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

std::optional<absl::int128> ParseInteger(absl::string_view text) {
  const absl::string_view digits = absl::StartsWith(text, "-") ? text.substr(1) : text;
  const bool plain =
      !digits.empty() && std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit);
  absl::int128 value = 0;
  if (!plain || !absl::SimpleAtoi(text, &value)) return std::nullopt;
  return value;
}

std::optional<absl::int128> ParseByteSize(absl::string_view text) {
  if (const auto bytes = ParseInteger(text)) return bytes;
  for (const SizeUnit& unit : kSizeUnits) {
    if (!absl::EndsWith(text, unit.name)) continue;
    const absl::string_view number =
        absl::StripAsciiWhitespace(text.substr(0, text.size() - unit.name.size()));
    const std::optional<double> amount = ParseNumber(number);
    if (!amount) return std::nullopt;
    const double bytes = *amount * unit.bytes;
    if (std::abs(bytes) > kMaxSizeBytes || bytes != std::floor(bytes)) return std::nullopt;
    return absl::int128(static_cast<int64_t>(bytes));
  }
  return std::nullopt;
}

std::optional<double> ParseNumber(absl::string_view text) {
  double value = 0;
  const bool spaced = text != absl::StripAsciiWhitespace(text);
  if (spaced || !absl::SimpleAtod(text, &value) || !std::isfinite(value)) return std::nullopt;
  return value;
}

std::optional<bool> ParseBool(absl::string_view text) {
  if (absl::EqualsIgnoreCase(text, "true")) return true;
  if (absl::EqualsIgnoreCase(text, "false")) return false;
  return std::nullopt;
}

std::optional<absl::Duration> ParseConfigDuration(absl::string_view text) {
  absl::Duration value;
  if (!absl::ParseDuration(text, &value) || value == absl::InfiniteDuration() ||
      value < absl::ZeroDuration()) {
    return std::nullopt;
  }
  return value;
}

const EnumValueDescriptor* FindEnumValue(const EnumDescriptor& type, absl::string_view text) {
  const std::vector<const EnumValueDescriptor*> values = ValuesOf(type);
  const size_t prefix = SharedPrefix(values);
  for (const EnumValueDescriptor* value : values) {
    const absl::string_view name = value->name();
    if (absl::EqualsIgnoreCase(name, text)) return value;
    if (absl::EqualsIgnoreCase(name.substr(prefix), text)) return value;
  }
  return nullptr;
}

std::string EnumChoices(const EnumDescriptor& type) {
  const std::vector<const EnumValueDescriptor*> values = ValuesOf(type);
  const size_t prefix = SharedPrefix(values);
  std::vector<std::string> names;
  for (const EnumValueDescriptor* value : values) {
    names.push_back(absl::AsciiStrToLower(absl::string_view(value->name()).substr(prefix)));
  }
  if (names.size() < 2) return absl::StrJoin(names, "");
  const std::string last = names.back();
  names.pop_back();
  return absl::StrCat(absl::StrJoin(names, ", "), " or ", last);
}

std::string NearestName(absl::string_view name, const std::vector<std::string>& names) {
  // More changes than this make it another word.
  size_t nearest_distance = name.size() / 3 + 2;
  std::string nearest;
  for (const std::string& candidate : names) {
    const size_t distance = EditDistance(name, candidate);
    if (distance >= nearest_distance) continue;
    nearest_distance = distance;
    nearest = candidate;
  }
  return nearest;
}

}  // namespace trunkline
