// The admin HTTP server of every process: /metrics, /healthz and /readyz. It runs on its own
// threads, off the data path.
//
// One thread serves all connections without blocking, so neither silent nor slow peers delay
// others; when there are too many, the oldest one without a complete request is closed. /metrics
// and /readyz are made on a thread each, so /healthz answers also while a scrape takes long.
// Requests that arrive while a page is made share the next one.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"
#include "common/observe/metrics_page.h"

namespace trunkline {

// Serves from construction to destruction; destruction joins its threads. Thread-safe.
class AdminHttp {
 public:
  // Returns "" if the process is ready, else the reason for the operator, served with 503. Called
  // on a thread of the server.
  using Readiness = std::function<std::string()>;
  // Returns faults that do not make the process unready, which /readyz shows below its answer. Same
  // thread.
  using Notes = std::function<std::vector<std::string>()>;

  // `listen` is host:port; port 0 selects a free port. `metrics` outlives the server. The error for
  // an address in use names the address.
  static absl::StatusOr<std::unique_ptr<AdminHttp>> Start(const std::string& listen,
                                                          const MetricsPage& metrics,
                                                          Readiness readiness,
                                                          Notes notes = nullptr);
  // As above in two steps, for a process that must know early whether the port is free, or that
  // has the socket from another process.
  static absl::StatusOr<UniqueFd> Listen(const std::string& listen);
  static absl::StatusOr<std::unique_ptr<AdminHttp>> Start(UniqueFd listener,
                                                          const MetricsPage& metrics,
                                                          Readiness readiness,
                                                          Notes notes = nullptr);
  ~AdminHttp();

  int port() const;

 private:
  class Server;
  explicit AdminHttp(std::unique_ptr<Server> server);
  std::unique_ptr<Server> server_;
};

}  // namespace trunkline
