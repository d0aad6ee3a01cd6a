// The parts of a proxy that only one of two processes may run at a time: accepting clients, the
// admin server, and the subscription under the proxy's name.
//
// A hot restart takes them from one process and gives them back if the other one dies. Flows are
// not handed over; each process finishes its own.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"
#include "common/observe/admin_http.h"
#include "common/observe/metrics_page.h"
#include "dataplane/control/discovery_subscriber.h"
#include "dataplane/data_plane.h"
#include "dataplane/listen/inheritance.h"
#include "dataplane/stats/traffic_stats.h"
#include "trunkline/v1/config.pb.h"

namespace trunkline {

// Externally synchronized: main's thread until a HandoverServer calls it, then that server's.
class ExclusiveParts {
 public:
  // Subscribes, and puts a saved snapshot into service before it returns. All references outlive
  // this. `admin` is the listening socket of the admin server.
  ExclusiveParts(const v1::ProxyConfig& config, DataPlane& data_plane, TrafficStats& stats,
                 const MetricsPage& metrics, UniqueFd admin);

  // Asks the predecessor to release its parts, if there is one. Returns an error, and the
  // predecessor keeps serving, if this process has nothing to serve or would use none of the
  // predecessor's sockets. Waits as DiscoverySubscriber::AwaitReady and Inheritance::Confirm do.
  absl::Status TakeOver(Inheritance& inheritance);
  // Starts the admin server and accepts clients.
  absl::Status Start();

  // Stops all three and keeps the sockets. Without effect if they are stopped.
  void Release();
  // Undoes Release.
  void TakeBack();
  // Returns copies of the sockets, and saves the snapshot, which the successor may need before it
  // has its own. RESOURCE_EXHAUSTED: no descriptors are left for all sockets.
  absl::StatusOr<HandoverSockets> Offer();
  // Closes the sockets and lets flows finish, as DataPlane::Drain does. The last call.
  void Drain();

  void Collect(MetricsWriter& writer) const { subscriber_.Collect(writer); }

 private:
  absl::Status AwaitUse();

  const v1::ProxyConfig& config_;
  DataPlane& data_plane_;
  const MetricsPage& metrics_;
  UniqueFd admin_;
  DiscoverySubscriber subscriber_;
  std::unique_ptr<AdminHttp> http_;
};

// Returns the socket of the admin server: the predecessor's, if it listens at the same address, or
// a new one.
absl::StatusOr<UniqueFd> OpenAdminSocket(const v1::ProxyConfig& config, HandoverSockets& inherited);

// Returns the socket on which this process waits for successors: the predecessor's, or a new one.
// Without a descriptor if no path is configured.
absl::StatusOr<UniqueFd> OpenHandoverSocket(const v1::ProxyConfig& config,
                                            Inheritance& inheritance);

}  // namespace trunkline
