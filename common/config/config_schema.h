// Interprets the (trunkline.v1.rule) options and the types of configuration fields. Pure, without
// YAML. Thread-safe; keeps no state.
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

// Returns true for an integer whose name ends in "_bytes"; its text may have a unit ("64KiB").
bool IsByteSizeField(const google::protobuf::FieldDescriptor& field);

// Compares with the bounds of the rule. `value` is in seconds for a duration.
bool WithinBounds(const v1::FieldRule& rule, double value);

// Compares with the range of the field's type.
bool FitsType(const google::protobuf::FieldDescriptor& field, absl::int128 value);
bool FitsType(const google::protobuf::FieldDescriptor& field, double value);

// Formats a value or bound of the field: "64", or "1m30s" for 90 seconds of a duration field.
std::string FormatNumber(const google::protobuf::FieldDescriptor& field, double value);

// Describes the valid values and the default, to follow "expected" in an error.
std::string Expectation(const google::protobuf::FieldDescriptor& field);

}  // namespace trunkline
