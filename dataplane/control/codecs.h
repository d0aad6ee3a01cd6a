// Makes codecs from the configuration, and reads the password files that it names. Thread-safe: no
// state.
#pragma once

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "dataplane/codec/codec.h"
#include "trunkline/v1/service.pb.h"

namespace trunkline {

// Makes the codec that `options` selects, shared by all connections of a service. Returns
// INVALID_ARGUMENT with the field, the value and what was expected if an option is invalid or a
// file is unusable. Reads files, so it may block; not for a worker's loop.
absl::StatusOr<std::shared_ptr<const Codec>> MakeCodec(const v1::MessageOptions& options);

// Makes a codec whose connections open with this credential, for uses other than a service's
// messages. Returns INVALID_ARGUMENT with the file, in the field `field`, that is unusable. May
// block, too.
absl::StatusOr<std::shared_ptr<const Codec>> MakeRedisLogin(const v1::RedisAuth& auth,
                                                            std::string_view field);

}  // namespace trunkline
