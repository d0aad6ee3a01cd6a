// All codecs there are, by their place in the configuration. Thread-safe: no state.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "dataplane/codec/codec.h"
#include "trunkline/v1/service.pb.h"

namespace trunkline {

// INVALID_ARGUMENT names the field, what was expected and what is there.
absl::StatusOr<std::shared_ptr<const Codec>> MakeCodec(const v1::MessageOptions& options);

}  // namespace trunkline
