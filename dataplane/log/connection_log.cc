#include "dataplane/log/connection_log.h"

#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/net/socket.h"
#include "common/observe/metrics_page.h"
#include "dataplane/flow/flow_end.h"
#include "dataplane/flow/flow_record.h"
#include "dataplane/flow/request_record.h"
#include "dataplane/log/connection_log_line.h"

namespace trunkline {
namespace {

// O_APPEND: several processes may write to the file, and it may be truncated in place.
constexpr int kFlags = O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY;
constexpr mode_t kMode = 0640;

absl::Status CannotOpen(const std::string& path, int error) {
  const char* const remedy = error == ENXIO ? "start the program that reads the FIFO first"
                                            : "its folder must exist and be writable";
  return absl::InvalidArgumentError(
      absl::StrCat("connection_log.file: cannot open ", path, ": ",
                   error == ENXIO ? "nothing reads it" : ErrorText(error), "; ", remedy));
}

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

absl::StatusOr<int> OpenConnectionLog(const std::string& path) {
  const int fd = open(path.c_str(), kFlags | O_CREAT, kMode);
  if (fd < 0) return CannotOpen(path, errno);
  return fd;
}

absl::Status CheckConnectionLog(const std::string& path) {
  const int fd = open(path.c_str(), kFlags);
  if (fd >= 0) {
    close(fd);
    return absl::OkStatus();
  }
  if (errno != ENOENT) return CannotOpen(path, errno);
  if (access(FolderOf(path).c_str(), W_OK | X_OK) != 0) return CannotOpen(path, errno);
  return absl::OkStatus();
}

ConnectionLog::ConnectionLog(int fd, Options options)
    : options_(std::move(options)),
      writer_(fd, options_.max_queued_bytes,
              [id = options_.proxy_id, format = options_.format](uint64_t count) {
                return DroppedLinesLine(count, absl::Now(), id, format);
              }) {}

bool ConnectionLog::Covers(std::string_view service) const {
  const std::vector<std::string>& names = options_.services;
  return names.empty() || std::find(names.begin(), names.end(), service) != names.end();
}

void ConnectionLog::Write(const FlowRecord& record, const Outcome& outcome) {
  const bool failed = outcome.end != FlowEnd::kClean;
  if (!record.sampled && !(failed && options_.errors)) return;
  Write(LogEntry{.record = record,
                 .service = outcome.service,
                 .mode = outcome.mode,
                 .end = FlowEndName(outcome.end, outcome.lacks_sockets),
                 .ended_by = failed ? SideOf(outcome.end) : record.closed_by,
                 .ended_at = outcome.at});
}

void ConnectionLog::Write(const RequestRecord& request, const FlowRecord& client,
                          const Outcome& outcome) {
  const RequestEnd end = RequestEndOf(request, outcome.end, outcome.lacks_sockets);
  if (!request.sampled && !(end.failed && options_.errors)) return;
  const FlowRecord record = AsFlowRecord(request, client.addresses);
  Write(LogEntry{.type = LogType::kRequest,
                 .record = record,
                 .service = outcome.service,
                 .mode = outcome.mode,
                 .end = end.name,
                 .ended_by = end.side,
                 .ended_at = outcome.at});
}

void ConnectionLog::Write(LogEntry entry) {
  entry.proxy_id = options_.proxy_id;
  entry.accepted_at = absl::Now() - (entry.ended_at - entry.record.accepted_at);
  writer_.Write(ConnectionLogLine(entry, options_.fields, options_.format));
  lines_.fetch_add(1, std::memory_order_relaxed);
}

void ConnectionLog::Collect(MetricsWriter& writer) const {
  writer.AddCounter("proxy_connection_log_lines_total",
                    "Lines of the connection log, dropped ones included", {},
                    static_cast<double>(lines_.load(std::memory_order_relaxed)));
  writer.AddCounter(
      "proxy_connection_log_lines_dropped_total",
      "Lines of the connection log dropped because its file did not accept them in time", {},
      static_cast<double>(writer_.dropped()));
}

}  // namespace trunkline
