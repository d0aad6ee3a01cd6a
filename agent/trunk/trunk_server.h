// The agent's trunk port: workers that end proxies' trunks and hand the streams to local services.
// Thread-safe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/sample/local_service.h"
#include "agent/sample/service_traffic.h"
#include "agent/trunk/trunk_worker.h"
#include "common/net/address.h"
#include "common/observe/metrics_page.h"

namespace trunkline {

class TrunkServer {
 public:
  struct Options {
    Address listen;
    std::vector<LocalService> services;
    uint32_t max_streams = 1000;
    absl::Duration connect_timeout = absl::Seconds(3);
    // Null: trunks are plain.
    std::shared_ptr<const TrunkTls> tls;
  };

  // One worker a row of `traffic`, whose columns are the services; it outlives the server.
  static absl::StatusOr<std::unique_ptr<TrunkServer>> Start(const Options& options,
                                                            TrafficTable& traffic);
  // Ends at once: streams are reset.
  ~TrunkServer();

  int port() const { return port_; }
  // No new trunks or streams; returns when the last stream ended or after `timeout`.
  void Drain(absl::Duration timeout);
  void Collect(MetricsWriter& writer) const;

 private:
  TrunkServer(std::vector<LocalService> services, std::vector<SocketAddress> targets,
              std::shared_ptr<const TrunkTls> tls, TrafficTable& traffic);

  const std::vector<LocalService> services_;
  const std::vector<SocketAddress> targets_;  // one of each service
  const std::shared_ptr<const TrunkTls> tls_;
  TrafficTable& traffic_;
  int port_ = 0;
  std::vector<std::unique_ptr<TrunkWorker>> workers_;
};

}  // namespace trunkline
