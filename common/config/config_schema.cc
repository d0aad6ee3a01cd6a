#include "common/config/config_schema.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/duration.pb.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "common/config/config_values.h"
#include "trunkline/v1/options.pb.h"

namespace trunkline {
namespace {

using google::protobuf::FieldDescriptor;

template <typename T>
bool Fits(absl::int128 value) {
  return value >= absl::int128(std::numeric_limits<T>::min()) &&
         value <= absl::int128(std::numeric_limits<T>::max());
}

bool IsUnsigned(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_UINT32 ||
         field.cpp_type() == FieldDescriptor::CPPTYPE_UINT64;
}

bool IsInteger(const FieldDescriptor& field) {
  return IsUnsigned(field) || field.cpp_type() == FieldDescriptor::CPPTYPE_INT32 ||
         field.cpp_type() == FieldDescriptor::CPPTYPE_INT64;
}

// " from 1 to 64", or empty for a field without bounds.
std::string BoundsText(const FieldDescriptor& field) {
  const v1::FieldRule& rule = RuleOf(field);
  const std::string min = FormatNumber(field, rule.min());
  if (rule.has_max()) return absl::StrCat(" from ", min, " to ", FormatNumber(field, rule.max()));
  return rule.has_min() || IsUnsigned(field) ? absl::StrCat(" of at least ", min) : "";
}

// The valid values, without the default.
std::string ValuesText(const FieldDescriptor& field) {
  const v1::FieldRule& rule = RuleOf(field);
  if (!rule.expected().empty()) return rule.expected();
  if (IsDurationField(field)) {
    return absl::StrCat("a duration", BoundsText(field), ", for example 500ms, 3s or 1h30m");
  }
  if (IsByteSizeField(field)) {
    return absl::StrCat("a size in bytes", BoundsText(field), ", for example 4096 or 64KiB");
  }
  if (IsInteger(field)) return absl::StrCat("a whole number", BoundsText(field));
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return EnumChoices(*field.enum_type());
    case FieldDescriptor::CPPTYPE_FLOAT:
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return absl::StrCat("a number", BoundsText(field));
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return "a map of fields";
    default:
      return rule.address() ? "host:port, [ipv6]:port or unix:/path" : "text";
  }
}

}  // namespace

const v1::FieldRule& RuleOf(const FieldDescriptor& field) {
  return field.options().GetExtension(v1::rule);
}

bool IsDurationField(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE &&
         field.message_type() == google::protobuf::Duration::descriptor();
}

bool IsByteSizeField(const FieldDescriptor& field) {
  return IsInteger(field) && absl::EndsWith(field.name(), "_bytes");
}

bool WithinBounds(const v1::FieldRule& rule, double value) {
  return (!rule.has_min() || value >= rule.min()) && (!rule.has_max() || value <= rule.max());
}

bool FitsType(const FieldDescriptor& field, absl::int128 value) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return Fits<int32_t>(value);
    case FieldDescriptor::CPPTYPE_INT64:
      return Fits<int64_t>(value);
    case FieldDescriptor::CPPTYPE_UINT32:
      return Fits<uint32_t>(value);
    default:
      return Fits<uint64_t>(value);
  }
}

bool FitsType(const FieldDescriptor& field, double value) {
  return field.cpp_type() != FieldDescriptor::CPPTYPE_FLOAT ||
         std::abs(value) <= std::numeric_limits<float>::max();
}

std::string FormatNumber(const FieldDescriptor& field, double value) {
  if (IsDurationField(field)) return absl::FormatDuration(absl::Seconds(value));
  if (IsInteger(field)) return absl::StrFormat("%.0f", value);
  return absl::StrCat(value);
}

std::string Expectation(const FieldDescriptor& field) {
  const std::string& default_value = RuleOf(field).default_value();
  const std::string values = ValuesText(field);
  return default_value.empty() ? values : absl::StrCat(values, " (default ", default_value, ")");
}

}  // namespace trunkline
