// The admin HTTP server of every process: /metrics, /healthz and /readyz. It runs on its own
// threads, off the data path.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/observe/metrics_page.h"

namespace trunkline {

// Serves from construction to destruction; destruction joins its threads. Thread-safe.
class AdminHttp {
 public:
  // Returns "" if the process is ready, else the reason for the operator, served with 503. Called
  // on the server's threads.
  using Readiness = std::function<std::string()>;

  // `listen` is host:port; port 0 selects a free port. `metrics` outlives the server. The error for
  // an address in use names the address.
  static absl::StatusOr<std::unique_ptr<AdminHttp>> Start(const std::string& listen,
                                                          const MetricsPage& metrics,
                                                          Readiness readiness);
  ~AdminHttp();

  int port() const;

 private:
  struct State;
  explicit AdminHttp(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace trunkline
