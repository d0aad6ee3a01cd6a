// Converts the scalars of a configuration file from text, and names values for messages to an
// operator. Pure, without YAML. Thread-safe; keeps no state. The parsers return nullopt for
// malformed text.
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

// Parses "12" or "-3". An int128 holds every protobuf integer, so one function checks all bounds.
std::optional<absl::int128> ParseInteger(absl::string_view text);

// Parses "4096", "64KiB", "64k" (the same), "1.5GiB" or "10MB" (powers of ten) into whole bytes.
std::optional<absl::int128> ParseByteSize(absl::string_view text);

// Parses a finite number.
std::optional<double> ParseNumber(absl::string_view text);

// Parses "true" or "false" in any case.
std::optional<bool> ParseBool(absl::string_view text);

// Parses "500ms", "3s", "1h30m", "1d" or "0" into a finite duration of at least zero.
std::optional<absl::Duration> ParseConfigDuration(absl::string_view text);

// Finds a value by name, in any case, with or without the enum's prefix: "tunnel", "TUNNEL" and
// "FORWARDING_MODE_TUNNEL" are the same. Returns null for an unknown name and for the unspecified
// value.
const google::protobuf::EnumValueDescriptor* FindEnumValue(
    const google::protobuf::EnumDescriptor& type, absl::string_view text);

// Returns the name without the enum's prefix in lower case: "tunnel".
std::string ShortName(const google::protobuf::EnumValueDescriptor& value);

// Lists the short names: "adaptive, static or round_robin".
std::string EnumChoices(const google::protobuf::EnumDescriptor& type);

// Returns the element of `names` most similar to a misspelt `name`; empty if none is similar.
std::string NearestName(absl::string_view name, const std::vector<std::string>& names);

}  // namespace trunkline
