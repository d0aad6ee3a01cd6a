#include "trunkctl/json.h"

#include <google/protobuf/util/json_util.h>

#include <string>

namespace trunkline {

std::string Json(const google::protobuf::Message& message, bool one_line) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = !one_line;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(message, &text, options).ok()) return "{}\n";
  if (one_line) text += "\n";
  return text;
}

}  // namespace trunkline
