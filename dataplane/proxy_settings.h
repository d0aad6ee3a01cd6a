// Turns a proxy's configuration into options: fills in defaults and applies the machine's limits.
//
// Thread-safe: no state.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/trunk/trunk_tls.h"
#include "dataplane/control/discovery_subscriber.h"
#include "dataplane/data_plane.h"
#include "trunkline/v1/config.pb.h"

namespace trunkline {

// Checks rules that span several fields, what is at the path of handover_socket, and that the
// connection log can be opened. Loads the TLS files into `*tls`, which stays null if the
// configuration has none. Errors name the field.
absl::Status CheckProxyConfig(const v1::ProxyConfig& config, std::shared_ptr<const TrunkTls>* tls);

// Returns all options except the memory budget, which depends on the running process. Logs a
// warning if the limit of open files allows fewer clients than the configuration. Starts the
// connection log, if there is one.
DataPlane::Options ReadDataPlaneOptions(const v1::ProxyConfig& config,
                                        std::shared_ptr<const TrunkTls> tls);

// Requires `config.connection_log`.
ConnectionLog::Options ReadConnectionLogOptions(const v1::ProxyConfig& config);

DiscoverySubscriber::Options ReadSubscriberOptions(const v1::ProxyConfig& config);
// Returns the calls with which a subscriber drives `data_plane`, which outlives the result.
DiscoverySubscriber::DataPlaneCalls CallsOf(DataPlane& data_plane);

// Returns why the proxy does not serve all services yet, or an empty string.
std::string NotReady(const DiscoverySubscriber& subscriber, const DataPlane& data_plane);
// Returns faults that /readyz shows although the proxy is ready.
std::vector<std::string> Notes(const DiscoverySubscriber& subscriber, const DataPlane& data_plane);

// Returns the host:port of /metrics, /healthz and /readyz.
std::string AdminListenOf(const v1::ProxyConfig& config);
// Returns how long flows may take to finish after SIGTERM.
absl::Duration DrainTimeoutOf(const v1::ProxyConfig& config);

}  // namespace trunkline
