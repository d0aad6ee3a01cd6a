// What the (trunkline.v1.rule) options and the types of configuration fields say, as values and as
// words. Pure; no YAML.
#pragma once

#include <string>

#include "absl/numeric/int128.h"
#include "trunkline/v1/options.pb.h"

namespace google::protobuf {
class FieldDescriptor;
}

namespace trunkline {

const v1::FieldRule& RuleOf(const google::protobuf::FieldDescriptor& field);

bool IsDurationField(const google::protobuf::FieldDescriptor& field);

// "64KiB" is taken: an integer whose name ends in "_bytes".
bool IsByteSizeField(const google::protobuf::FieldDescriptor& field);

// Of the rule alone; for a duration, seconds.
bool WithinBounds(const v1::FieldRule& rule, double value);

// Of the field's type.
bool FitsType(const google::protobuf::FieldDescriptor& field, absl::int128 value);
bool FitsType(const google::protobuf::FieldDescriptor& field, double value);

// What follows "expected": the rule's doc, else the type with its bounds.
std::string Expectation(const google::protobuf::FieldDescriptor& field);

}  // namespace trunkline
