// Helper for tests that compare the documented defaults of a configuration with those in effect.
#pragma once

#include <google/protobuf/descriptor.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/config/config_schema.h"

namespace trunkline {

// Returns the fields of `type` that have a documented default as lines of YAML, each with that
// default. Fields of nested messages are not included.
inline std::string DefaultsAsYaml(const google::protobuf::Descriptor& type,
                                  const std::string& indent = "") {
  std::string yaml;
  for (int i = 0; i < type.field_count(); ++i) {
    const std::string& value = RuleOf(*type.field(i)).default_value();
    if (!value.empty()) absl::StrAppend(&yaml, indent, type.field(i)->name(), ": ", value, "\n");
  }
  return yaml;
}

}  // namespace trunkline
