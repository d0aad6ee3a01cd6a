// The connection log: one line per client connection, written when it ends, and, if `requests` is
// set, one per request of message mode.
//
// Workers only format the line and queue it; a thread of the log writes it. Up to 1 MiB of lines is
// queued for a file that accepts nothing, then the oldest lines are dropped, counted, and reported
// by a line once the file accepts lines again. A flow that may be logged has a FlowRecord; if the
// log is off, or does not cover its service, it has none and costs nothing.
//
// Thread-safe.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/observe/log_writer.h"
#include "common/observe/metrics_page.h"
#include "dataplane/log/connection_log_line.h"

namespace trunkline {

// Opens a file or FIFO for appending and creates a file that is missing. Opens no FIFO without a
// reader, because that would block. Errors name the path and the remedy.
absl::StatusOr<int> OpenConnectionLog(const std::string& path);
// Returns the error that OpenConnectionLog would return, but creates nothing.
absl::Status CheckConnectionLog(const std::string& path);

class ConnectionLog {
 public:
  struct Options {
    std::string proxy_id;
    LogFormat format = LogFormat::kText;
    std::vector<LogField> fields = AllLogFields();
    double sample = 1;      // share of the connections, and of the requests, that are logged
    bool errors = true;     // log every one that ended with an error
    bool requests = false;  // log requests of message mode, too
    std::vector<std::string> services = {};  // empty: all
    size_t max_queued_bytes = 1 << 20;
  };
  // `fd` is borrowed and stays open until the process ends.
  ConnectionLog(int fd, Options options);

  bool Covers(std::string_view service) const;
  // Decides about a new connection or request by `roll`, a random number of [0, 1): always logged,
  // or logged if it ends with an error, or never.
  bool Samples(double roll) const { return roll < options_.sample; }
  bool logs_errors() const { return options_.errors; }
  bool logs_requests() const { return options_.requests; }

  struct Outcome {
    std::string_view service;
    ForwardingMode mode = ForwardingMode::kTunnel;
    FlowEnd end = FlowEnd::kClean;
    bool lacks_sockets = false;  // see FlowEndName
    MonotonicTime at;
  };
  // Logs a connection that has ended, if its record was sampled or it ended with an error. Never
  // waits for the file.
  void Write(const FlowRecord& record, const Outcome& outcome);
  // The same for a request of `client`; `outcome.end` is that of its client, if the request has
  // none of its own.
  void Write(const RequestRecord& request, const FlowRecord& client, const Outcome& outcome);

  void Collect(MetricsWriter& writer) const;
  // Like LogWriter::Flush.
  bool Flush() { return writer_.Flush(); }

 private:
  void Write(LogEntry entry);

  const Options options_;
  std::atomic<uint64_t> lines_ = 0;
  LogWriter writer_;
};

}  // namespace trunkline
