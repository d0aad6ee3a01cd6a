#include "common/config/rule_check.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/config/config_schema.h"
#include "common/config/durations.h"

namespace trunkline {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Seconds for a duration; nullopt for a field that is neither a number nor a duration.
std::optional<double> NumberOf(const Message& message, const FieldDescriptor& field) {
  const Reflection& from = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return from.GetInt32(message, &field);
    case FieldDescriptor::CPPTYPE_INT64:
      return static_cast<double>(from.GetInt64(message, &field));
    case FieldDescriptor::CPPTYPE_UINT32:
      return from.GetUInt32(message, &field);
    case FieldDescriptor::CPPTYPE_UINT64:
      return static_cast<double>(from.GetUInt64(message, &field));
    case FieldDescriptor::CPPTYPE_FLOAT:
      return from.GetFloat(message, &field);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return from.GetDouble(message, &field);
    default:
      break;
  }
  if (!IsDurationField(field)) return std::nullopt;
  google::protobuf::Duration duration;
  duration.CopyFrom(from.GetMessage(message, &field));
  return absl::ToDoubleSeconds(ReadDuration(duration));
}

absl::Status CheckField(const Message& message, const FieldDescriptor& field,
                        const std::string& path) {
  if (const std::optional<double> value = NumberOf(message, field)) {
    if (WithinBounds(RuleOf(field), *value)) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(path, ": expected ", Expectation(field),
                                                   "; got ", FormatNumber(field, *value)));
  }
  if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) return absl::OkStatus();
  return CheckRules(message.GetReflection()->GetMessage(message, &field), path);
}

}  // namespace

absl::Status CheckRules(const Message& message, absl::string_view path) {
  std::vector<const FieldDescriptor*> set;
  message.GetReflection()->ListFields(message, &set);
  for (const FieldDescriptor* field : set) {
    if (field->is_repeated()) continue;
    absl::Status checked = CheckField(message, *field, absl::StrCat(path, ".", field->name()));
    if (!checked.ok()) return checked;
  }
  return absl::OkStatus();
}

}  // namespace trunkline
