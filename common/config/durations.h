// Conversion between google.protobuf.Duration and absl::Duration. Thread-safe; keeps no state.
#pragma once

#include <google/protobuf/duration.pb.h>

#include "absl/time/time.h"

namespace trunkline {

inline absl::Duration ReadDuration(const google::protobuf::Duration& value) {
  return absl::Seconds(value.seconds()) + absl::Nanoseconds(value.nanos());
}

inline void WriteDuration(absl::Duration value, google::protobuf::Duration* out) {
  absl::Duration rest;
  out->set_seconds(absl::IDivDuration(value, absl::Seconds(1), &rest));
  out->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(rest)));
}

}  // namespace trunkline
