// Makes codecs from the configuration. Thread-safe: no state.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "dataplane/codec/codec.h"
#include "trunkline/v1/service.pb.h"

namespace trunkline {

// Makes the codec that `options` selects, shared by all connections of a service. Returns
// INVALID_ARGUMENT with the field, the value and what was expected if an option is invalid.
absl::StatusOr<std::shared_ptr<const Codec>> MakeCodec(const v1::MessageOptions& options);

}  // namespace trunkline
