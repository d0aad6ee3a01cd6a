// Loads the TLS credentials of trunks that a configuration file names. Edge: reads files and the
// clock.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "common/trunk/trunk_tls.h"
#include "trunkline/v1/config.pb.h"

namespace trunkline {

// Loads the field `trunk_tls`. Returns null if it is absent, which makes trunks plaintext.
template <typename Config>
absl::StatusOr<std::shared_ptr<const TrunkTls>> LoadTrunkTls(const Config& config) {
  if (!config.has_trunk_tls()) return std::shared_ptr<const TrunkTls>();
  const v1::TrunkTlsConfig& tls = config.trunk_tls();
  return TrunkTls::Load("trunk_tls",
                        {.ca = tls.ca_file(), .cert = tls.cert_file(), .key = tls.key_file()},
                        absl::Now());
}

}  // namespace trunkline
