// The agent's trunk port: workers that terminate proxies' trunks and hand the streams to local
// services. Thread-safe.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
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
    absl::Duration connect_timeout = absl::Milliseconds(1200);
    // Null selects plain TCP.
    std::shared_ptr<const TrunkTls> tls;
    // Returns the addresses of a target that is a host name, without blocking, or null while none
    // is known. Thread-safe.
    std::function<AddressList(const Address&)> lookup = KnownAddresses;
  };

  // Starts one worker per row of `traffic`, whose columns are the services. `traffic` outlives the
  // server. Errors name the address and the remedy.
  static absl::StatusOr<std::unique_ptr<TrunkServer>> Start(const Options& options,
                                                            TrafficTable& traffic);
  // Resets all streams.
  ~TrunkServer();

  int port() const { return port_; }
  // Accepts no new trunks or streams. Returns when the last trunk has ended, which it does after
  // its last stream, or after `timeout`. Call once; blocks.
  void Drain(absl::Duration timeout);
  void Collect(MetricsWriter& writer) const;

 private:
  TrunkServer(const Options& options, TrafficTable& traffic);

  const std::vector<LocalService> services_;
  std::vector<TrunkWorker::Target> targets_;  // one of each service
  const std::shared_ptr<const TrunkTls> tls_;
  TrafficTable& traffic_;
  PeerLogPacer tls_log_;
  int port_ = 0;
  // A std::mutex because ThreadSanitizer does not see inside the system's absl::Mutex.
  std::mutex mutex_;
  std::condition_variable worker_drained_;
  size_t drained_workers_ = 0;  // guarded by mutex_
  // Last: its threads use the fields above.
  std::vector<std::unique_ptr<TrunkWorker>> workers_;
};

}  // namespace trunkline
