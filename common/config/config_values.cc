#include "common/config/config_values.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"

namespace trunkline {
namespace {

using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;

struct SizeUnit {
  absl::string_view name;
  double bytes;
};

// The longer names come first, because "KiB" also ends in "B".
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
    // As nginx and HAProxy write them.
    {"k", 1024.0},
    {"K", 1024.0},
    {"m", 1024.0 * 1024},
    {"M", 1024.0 * 1024},
    {"g", 1024.0 * 1024 * 1024},
    {"G", 1024.0 * 1024 * 1024},
};
// Below this limit a double represents every integer exactly.
constexpr double kMaxSizeBytes = 9007199254740992.0;

// Bounds the time to compare a misspelt name, which comes from the file.
constexpr size_t kMaxComparedName = 64;

constexpr absl::string_view kUnspecified = "UNSPECIFIED";

bool IsUnspecified(const EnumValueDescriptor& value) {
  return value.number() == 0 && absl::EndsWith(value.name(), kUnspecified);
}

std::vector<const EnumValueDescriptor*> ValuesOf(const EnumDescriptor& type) {
  std::vector<const EnumValueDescriptor*> values;
  for (int i = 0; i < type.value_count(); ++i) {
    if (!IsUnspecified(*type.value(i))) values.push_back(type.value(i));
  }
  return values;
}

// The name without the enum's prefix, which the zero value shows: SPEED_UNSPECIFIED has "SPEED_".
absl::string_view WithoutPrefix(const EnumValueDescriptor& value) {
  const EnumDescriptor& type = *value.type();
  absl::string_view name = value.name();
  const EnumValueDescriptor* zero = type.FindValueByNumber(0);
  if (zero == nullptr || !IsUnspecified(*zero)) return name;
  absl::ConsumePrefix(&name, absl::StripSuffix(zero->name(), kUnspecified));
  return name;
}

// The Levenshtein distance: insertions, deletions and replacements that turn `a` into `b`.
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
    absl::string_view number = text.substr(0, text.size() - unit.name.size());
    if (absl::EndsWith(unit.name, "B")) number = absl::StripAsciiWhitespace(number);
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
  absl::Duration days;
  if (const size_t unit = text.find('d'); unit != text.npos) {
    const std::optional<double> number = ParseNumber(text.substr(0, unit));
    if (!number || *number < 0) return std::nullopt;
    days = absl::Hours(24) * *number;
    text.remove_prefix(unit + 1);
    if (text.empty()) return days < absl::InfiniteDuration() ? std::optional(days) : std::nullopt;
  }
  absl::Duration value;
  if (!absl::ParseDuration(text, &value) || value == absl::InfiniteDuration() ||
      value < absl::ZeroDuration()) {
    return std::nullopt;
  }
  return days + value;
}

const EnumValueDescriptor* FindEnumValue(const EnumDescriptor& type, absl::string_view text) {
  for (const EnumValueDescriptor* value : ValuesOf(type)) {
    if (absl::EqualsIgnoreCase(value->name(), text)) return value;
    if (absl::EqualsIgnoreCase(WithoutPrefix(*value), text)) return value;
  }
  return nullptr;
}

std::string ShortName(const EnumValueDescriptor& value) {
  return absl::AsciiStrToLower(WithoutPrefix(value));
}

std::string EnumChoices(const EnumDescriptor& type) {
  std::vector<std::string> names;
  for (const EnumValueDescriptor* value : ValuesOf(type)) names.push_back(ShortName(*value));
  if (names.size() < 2) return absl::StrJoin(names, "");
  const std::string last = names.back();
  names.pop_back();
  return absl::StrCat(absl::StrJoin(names, ", "), " or ", last);
}

std::string NearestName(absl::string_view name, const std::vector<std::string>& names) {
  // A name with more changes than this is a different word, not a typing error.
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
