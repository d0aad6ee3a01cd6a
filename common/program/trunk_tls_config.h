// TLS of trunks as a configuration file names it. Edge: reads files and the clock.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "common/trunk/trunk_tls.h"
#include "trunkline/v1/config.pb.h"

namespace trunkline {

// What the file's `trunk_tls` says; null where it says nothing: trunks are plain.
template <typename Config>
absl::StatusOr<std::shared_ptr<const TrunkTls>> LoadTrunkTls(const Config& config) {
  if (!config.has_trunk_tls()) return std::shared_ptr<const TrunkTls>();
  const v1::TrunkTlsConfig& tls = config.trunk_tls();
  return TrunkTls::Load("trunk_tls",
                        {.ca = tls.ca_file(), .cert = tls.cert_file(), .key = tls.key_file()},
                        absl::Now());
}

}  // namespace trunkline
