// What a proxy's configuration file means: defaults filled in, limits of the machine applied.
//
// Thread-safe: no state.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/trunk/trunk_tls.h"
#include "dataplane/control/discovery_subscriber.h"
#include "dataplane/data_plane.h"
#include "trunkline/v1/config.pb.h"

namespace trunkline {

// Checks what goes beyond single fields and loads the TLS files into `*tls`, which stays null if
// the configuration has none. Errors name the field.
absl::Status CheckProxyConfig(const v1::ProxyConfig& config, std::shared_ptr<const TrunkTls>* tls);

// Without the memory budget, which the running process determines. Logs if the limit of open files
// allows fewer clients than the configuration.
DataPlane::Options ReadDataPlaneOptions(const v1::ProxyConfig& config,
                                        std::shared_ptr<const TrunkTls> tls);

DiscoverySubscriber::Options ReadSubscriberOptions(const v1::ProxyConfig& config);
// Where the subscriber's tables go. `data_plane` outlives the result.
DiscoverySubscriber::DataPlaneCalls CallsOf(DataPlane& data_plane);

// host:port of /metrics, /healthz and /readyz.
std::string AdminListenOf(const v1::ProxyConfig& config);
// `listen` with the port that it got.
std::string BoundText(const std::string& listen, int port);
// How long flows may finish after SIGTERM.
absl::Duration DrainTimeoutOf(const v1::ProxyConfig& config);

}  // namespace trunkline
