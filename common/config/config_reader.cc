#include "common/config/config_reader.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/utf8.h"
#include "common/config/config_schema.h"
#include "common/config/config_values.h"
#include "common/config/durations.h"
#include "common/config/yaml_text.h"
#include "common/net/address.h"

namespace trunkline {
namespace {

using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Root keys that begin like this are ignored.
constexpr absl::string_view kExtensionPrefix = "x-";
// Errors show this much of a value.
constexpr size_t kMaxShownText = 80;

// yaml-cpp has no position for a missing value ("key:"); the key's line stands in for it.
int LineOf(const YAML::Node& node, int otherwise) {
  if (node.IsNull() || node.Mark().is_null()) return otherwise;
  return node.Mark().line + 1;
}

std::string Describe(const YAML::Node& node) {
  switch (node.Type()) {
    case YAML::NodeType::Scalar:
      return absl::StrCat("\"", node.Scalar().substr(0, kMaxShownText), "\"");
    case YAML::NodeType::Sequence:
      return "a list";
    case YAML::NodeType::Map:
      return "a map";
    default:
      return "nothing";
  }
}

// ":9000" and "*:9000", as other servers write them, are all IPv4 addresses of the machine.
std::string WithWildcardHost(const std::string& text) {
  if (absl::StartsWith(text, ":")) return absl::StrCat("0.0.0.0", text);
  if (absl::StartsWith(text, "*:")) return absl::StrCat("0.0.0.0", text.substr(1));
  return text;
}

constexpr absl::string_view kQuoteBrackets =
    "; an IPv6 address needs brackets and quotation marks: \"[::]:9000\"";

// Without quotation marks, YAML takes "[::1]" for a list of "::1", and "[::]" and some other
// addresses for lists of maps.
bool LooksLikeIpv6(absl::string_view text) {
  return text.find(':') != text.rfind(':') && std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isxdigit(c) || c == ':' || c == '.';
         });
}
bool LooksLikeBrackets(const YAML::Node& node) {
  if (!node.IsMap() || node.size() == 0) return node.IsSequence();
  const YAML::Node key = node.begin()->first;
  return !key.IsScalar() || LooksLikeIpv6(absl::StrCat(key.Scalar(), ":"));
}

bool IsSingleMessage(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !IsDurationField(field);
}

std::string Join(const std::string& path, const std::string& name) {
  return path.empty() ? name : absl::StrCat(path, ".", name);
}

// Reflection has separate functions to set a singular field and to append to a repeated one; the
// Put functions choose by the field.
void PutInteger(Message* message, const FieldDescriptor& field, absl::int128 value) {
  const Reflection& to = *message->GetReflection();
  const bool add = field.is_repeated();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32: {
      const auto v = static_cast<int32_t>(value);
      add ? to.AddInt32(message, &field, v) : to.SetInt32(message, &field, v);
      return;
    }
    case FieldDescriptor::CPPTYPE_INT64: {
      const auto v = static_cast<int64_t>(value);
      add ? to.AddInt64(message, &field, v) : to.SetInt64(message, &field, v);
      return;
    }
    case FieldDescriptor::CPPTYPE_UINT32: {
      const auto v = static_cast<uint32_t>(value);
      add ? to.AddUInt32(message, &field, v) : to.SetUInt32(message, &field, v);
      return;
    }
    default: {
      const auto v = static_cast<uint64_t>(value);
      add ? to.AddUInt64(message, &field, v) : to.SetUInt64(message, &field, v);
      return;
    }
  }
}

void PutNumber(Message* message, const FieldDescriptor& field, double value) {
  const Reflection& to = *message->GetReflection();
  const bool add = field.is_repeated();
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_FLOAT) {
    const auto v = static_cast<float>(value);
    add ? to.AddFloat(message, &field, v) : to.SetFloat(message, &field, v);
  } else {
    add ? to.AddDouble(message, &field, value) : to.SetDouble(message, &field, value);
  }
}

void PutBool(Message* message, const FieldDescriptor& field, bool value) {
  const Reflection& to = *message->GetReflection();
  field.is_repeated() ? to.AddBool(message, &field, value) : to.SetBool(message, &field, value);
}

void PutEnum(Message* message, const FieldDescriptor& field, const EnumValueDescriptor* value) {
  const Reflection& to = *message->GetReflection();
  field.is_repeated() ? to.AddEnum(message, &field, value) : to.SetEnum(message, &field, value);
}

void PutText(Message* message, const FieldDescriptor& field, const std::string& value) {
  const Reflection& to = *message->GetReflection();
  field.is_repeated() ? to.AddString(message, &field, value) : to.SetString(message, &field, value);
}

Message* PutMessage(Message* message, const FieldDescriptor& field) {
  const Reflection& to = *message->GetReflection();
  return field.is_repeated() ? to.AddMessage(message, &field) : to.MutableMessage(message, &field);
}

std::vector<std::string> FieldNames(const Message& message) {
  std::vector<std::string> names;
  const auto& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
  return names;
}

std::string UnknownField(const std::string& key, const Message& message) {
  const std::vector<std::string> names = FieldNames(message);
  const std::string nearest = NearestName(key, names);
  if (!nearest.empty()) return absl::StrCat("unknown field; did you mean \"", nearest, "\"?");
  return absl::StrCat("unknown field; expected one of ", absl::StrJoin(names, ", "));
}

// The name of the field that is already set in the same oneof; empty if there is none.
std::string OneofInUse(const Message& message, const FieldDescriptor& field) {
  const auto* oneof = field.real_containing_oneof();
  if (oneof == nullptr) return "";
  const FieldDescriptor* set = message.GetReflection()->GetOneofFieldDescriptor(message, oneof);
  return set != nullptr ? set->name() : "";
}

}  // namespace

void ConfigReader::Read(const YAML::Node& root, Message* message) {
  ReadFields(root, Place{"", LineOf(root, 1)}, message);
}

std::vector<ConfigError> ConfigReader::TakeErrors() {
  std::stable_sort(errors_.begin(), errors_.end(),
                   [](const ConfigError& a, const ConfigError& b) { return a.line < b.line; });
  return std::move(errors_);
}

void ConfigReader::ReadFields(const YAML::Node& map, const Place& place, Message* message) {
  std::map<std::string, int> line_by_key;
  std::vector<std::string> given;
  for (const auto& [key_node, value] : MergedPairs(map)) {
    const int key_line = LineOf(key_node, place.line);
    if (!key_node.IsScalar()) {
      Report(Place{place.path, key_line},
             absl::StrCat("expected a field name; got ", Describe(key_node)));
      continue;
    }
    const std::string& key = key_node.Scalar();
    // A place for anchors, as in Compose files.
    if (place.path.empty() && absl::StartsWith(key, kExtensionPrefix)) continue;
    const Place at{Join(place.path, key), LineOf(value, key_line)};
    const auto [first, is_new] = line_by_key.emplace(key, key_line);
    const FieldDescriptor* field = message->GetDescriptor()->FindFieldByName(key);
    if (!is_new) {
      Report(Place{at.path, key_line}, absl::StrCat("given twice; first on line ", first->second));
    } else if (field == nullptr) {
      Report(Place{at.path, key_line}, UnknownField(key, *message));
    } else if (const std::string other = OneofInUse(*message, *field); !other.empty()) {
      Report(Place{at.path, key_line}, absl::StrCat("expected only one of this field and ", other));
    } else {
      given.push_back(key);
      ReadField(value, at, *field, message);
    }
  }
  ReportMissing(place, *message, given);
}

void ConfigReader::ReportMissing(const Place& map, const Message& message,
                                 const std::vector<std::string>& given) {
  const auto& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    const bool is_given = std::find(given.begin(), given.end(), field.name()) != given.end();
    if (!RuleOf(field).required() || is_given) continue;
    Report(Place{Join(map.path, field.name()), map.line},
           absl::StrCat("missing; expected ", Expectation(field)));
  }
}

void ConfigReader::ReadField(const YAML::Node& value, const Place& place,
                             const FieldDescriptor& field, Message* message) {
  if (field.is_map()) {
    ReadMap(value, place, field, message);
  } else if (field.is_repeated()) {
    ReadList(value, place, field, message);
  } else {
    ReadValue(value, place, field, message);
  }
}

// A list of one scalar may be written as that scalar, as in most files of other servers. A message
// may not: the error for a list that lost its dashes is clearer than those for the fields.
void ConfigReader::ReadList(const YAML::Node& value, const Place& place,
                            const FieldDescriptor& field, Message* message) {
  const bool of_messages = IsSingleMessage(field);
  if (!of_messages && value.IsScalar()) return ReadValue(value, place, field, message);
  if (!value.IsSequence()) {
    const std::string expected =
        of_messages ? "a list (lines that start with \"- \")"
                    : absl::StrCat(Expectation(field), ", or a list of such values");
    Report(place, absl::StrCat("expected ", expected, "; got ", Describe(value)));
    return;
  }
  if (RuleOf(field).required() && value.size() == 0) {
    return ReportUnexpected(place, field, "an empty list");
  }
  size_t index = 0;
  for (const YAML::Node& item : value) {
    ReadValue(item, Place{absl::StrCat(place.path, "[", index++, "]"), LineOf(item, place.line)},
              field, message);
  }
}

void ConfigReader::ReadMap(const YAML::Node& value, const Place& place,
                           const FieldDescriptor& field, Message* message) {
  if (!value.IsMap()) {
    Report(place, absl::StrCat("expected a map of names to values; got ", Describe(value)));
    return;
  }
  const FieldDescriptor& key_field = *field.message_type()->map_key();
  const FieldDescriptor& value_field = *field.message_type()->map_value();
  std::map<std::string, int> line_by_key;
  for (const auto& pair : value) {
    const YAML::Node& key_node = pair.first;
    const YAML::Node& item = pair.second;
    const int key_line = LineOf(key_node, place.line);
    if (!key_node.IsScalar()) {
      Report(Place{place.path, key_line},
             absl::StrCat("expected a name; got ", Describe(key_node)));
      continue;
    }
    const std::string& key = key_node.Scalar();
    const std::string path = Join(place.path, key);
    const auto [first, is_new] = line_by_key.emplace(key, key_line);
    if (!is_new) {
      Report(Place{path, key_line}, absl::StrCat("given twice; first on line ", first->second));
      continue;
    }
    Message* entry = PutMessage(message, field);
    ReadScalar(key, Place{path, key_line}, key_field, entry);
    ReadValue(item, Place{path, LineOf(item, key_line)}, value_field, entry);
  }
}

void ConfigReader::ReadValue(const YAML::Node& value, const Place& place,
                             const FieldDescriptor& field, Message* message) {
  if (IsSingleMessage(field)) {
    ReadMessage(value, place, field, message);
  } else if (!value.IsScalar()) {
    const bool bracketed = RuleOf(field).address() && LooksLikeBrackets(value);
    ReportUnexpected(place, field, absl::StrCat(Describe(value), bracketed ? kQuoteBrackets : ""));
  } else {
    ReadScalar(value.Scalar(), place, field, message);
  }
}

void ConfigReader::ReadMessage(const YAML::Node& value, const Place& place,
                               const FieldDescriptor& field, Message* message) {
  if (!value.IsMap()) {
    Report(place, absl::StrCat("expected a map of fields (", field.message_type()->name(),
                               "); got ", Describe(value)));
    return;
  }
  ReadFields(value, place, PutMessage(message, field));
}

void ConfigReader::ReadScalar(const std::string& text, const Place& place,
                              const FieldDescriptor& field, Message* message) {
  const std::string got = absl::StrCat("\"", text.substr(0, kMaxShownText), "\"");
  const absl::string_view variable = FindVariable(text);
  if (!variable.empty() && !RuleOf(field).allow_control_characters()) {
    Report(place, absl::StrCat("expected a value; got ", got,
                               ", but environment variables are not replaced; write the value, or "
                               "replace ",
                               variable.substr(0, kMaxShownText),
                               " before the start, for example with envsubst"));
    return;
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return ReadDuration(text, place, field, message);
    case FieldDescriptor::CPPTYPE_STRING:
      return ReadText(text, place, field, message);
    case FieldDescriptor::CPPTYPE_BOOL: {
      const std::optional<bool> value = ParseBool(text);
      return value ? PutBool(message, field, *value) : ReportUnexpected(place, field, got);
    }
    case FieldDescriptor::CPPTYPE_ENUM: {
      const EnumValueDescriptor* value = FindEnumValue(*field.enum_type(), text);
      return value != nullptr ? PutEnum(message, field, value)
                              : ReportUnexpected(place, field, got);
    }
    case FieldDescriptor::CPPTYPE_FLOAT:
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      const std::optional<double> value = ParseNumber(text);
      const bool good = value && FitsType(field, *value) && WithinBounds(RuleOf(field), *value);
      return good ? PutNumber(message, field, *value) : ReportUnexpected(place, field, got);
    }
    default:
      return ReadInteger(text, place, field, message);
  }
}

void ConfigReader::ReadInteger(const std::string& text, const Place& place,
                               const FieldDescriptor& field, Message* message) {
  const std::optional<absl::int128> value =
      IsByteSizeField(field) ? ParseByteSize(text) : ParseInteger(text);
  if (!value || !FitsType(field, *value) ||
      !WithinBounds(RuleOf(field), static_cast<double>(*value))) {
    return ReportUnexpected(place, field, Describe(YAML::Node(text)));
  }
  PutInteger(message, field, *value);
}

void ConfigReader::ReadDuration(const std::string& text, const Place& place,
                                const FieldDescriptor& field, Message* message) {
  const std::optional<absl::Duration> value = ParseConfigDuration(text);
  if (!value || !WithinBounds(RuleOf(field), absl::ToDoubleSeconds(*value))) {
    return ReportUnexpected(place, field, Describe(YAML::Node(text)));
  }
  google::protobuf::Duration duration;
  WriteDuration(*value, &duration);
  PutMessage(message, field)->CopyFrom(duration);
}

void ConfigReader::ReadText(const std::string& text, const Place& place,
                            const FieldDescriptor& field, Message* message) {
  const v1::FieldRule& rule = RuleOf(field);
  const bool has_control = std::any_of(text.begin(), text.end(), absl::ascii_iscntrl);
  if (has_control && !rule.allow_control_characters()) {
    return Report(place, "expected text without control characters");
  }
  if (!IsUtf8(text)) return Report(place, "expected UTF-8 text");
  // Empty text means the default, so it is valid unless the field is required.
  const bool missing = rule.required() && text.empty();
  const std::string value = rule.address() ? WithWildcardHost(text) : text;
  const bool malformed = rule.address() && !text.empty() && !ParseAddress(value).ok();
  if (missing || malformed) {
    const bool bracketed = malformed && LooksLikeIpv6(text);
    return ReportUnexpected(
        place, field, absl::StrCat(Describe(YAML::Node(text)), bracketed ? kQuoteBrackets : ""));
  }
  PutText(message, field, value);
}

void ConfigReader::Report(const Place& place, absl::string_view what) {
  errors_.push_back({place.line, absl::StrCat(place.path, place.path.empty() ? "" : ": ", what)});
}

void ConfigReader::ReportUnexpected(const Place& place, const FieldDescriptor& field,
                                    absl::string_view got) {
  Report(place, absl::StrCat("expected ", Expectation(field), "; got ", got));
}

}  // namespace trunkline
