// The scalars of a configuration file: text to value, with the words that say what was expected.
// Pure; no YAML.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace google::protobuf {
class EnumDescriptor;
class EnumValueDescriptor;
}  // namespace google::protobuf

namespace trunkline {

// "12", "-3". Wide enough for every integer of protobuf, so that bounds are checked in one place.
std::optional<absl::int128> ParseInteger(absl::string_view text);

// "4096", "64KiB", "1.5GiB", "10MB": whole bytes only.
std::optional<absl::int128> ParseByteSize(absl::string_view text);

// Finite numbers.
std::optional<double> ParseNumber(absl::string_view text);

// "true" or "false", in any case.
std::optional<bool> ParseBool(absl::string_view text);

// "500ms", "3s", "1h30m", "0"; finite and not negative.
std::optional<absl::Duration> ParseConfigDuration(absl::string_view text);

// By name, in any case, with or without the prefix that all names of the enum share. Null: no such
// value, or the one that means "unspecified".
const google::protobuf::EnumValueDescriptor* FindEnumValue(
    const google::protobuf::EnumDescriptor& type, absl::string_view text);

// "adaptive, static or round_robin".
std::string EnumChoices(const google::protobuf::EnumDescriptor& type);

// The nearest of `names` to a misspelt `name`; empty when none is near.
std::string NearestName(absl::string_view name, const std::vector<std::string>& names);

}  // namespace trunkline
