// The HTTP side of every process: /metrics, /healthz, /readyz. Off the data path: its own threads,
// cpp-httplib.
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
  // Empty: ready. Else why not, in words an operator understands; served with 503.
  using Readiness = std::function<std::string()>;

  // `metrics` outlives the server. Port 0 takes a free one. An address in use is an error that
  // names it.
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
