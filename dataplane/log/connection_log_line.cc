#include "dataplane/log/connection_log_line.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/forwarding_mode.h"
#include "common/base/json_text.h"
#include "common/observe/log.h"
#include "dataplane/flow/flow_end.h"
#include "dataplane/flow/flow_record.h"
#include "dataplane/flow/request_record.h"

namespace trunkline {
namespace {

constexpr std::array<std::string_view, 20> kNames = {
    "time",       "type",          "proxy",    "service",         "mode",
    "listener",   "client",        "endpoint", "header_ms",       "queue_ms",
    "connect_ms", "first_byte_ms", "total_ms", "to_server_bytes", "to_client_bytes",
    "requests",   "retries",       "end",      "ended_by",        "phase"};
static_assert(kNames.size() == static_cast<size_t>(LogField::kPhase) + 1);

constexpr std::string_view kTypes[] = {"connection", "request"};
constexpr std::string_view kSides[] = {"", "client", "server", "proxy"};
constexpr std::string_view kPhases[] = {"header", "request", "queue", "connect", "data"};

// Returns true if `text` ends at the next space of a line of text and cannot be taken for something
// else.
bool IsPlain(std::string_view text) {
  return !text.empty() && text != "-" && std::all_of(text.begin(), text.end(), [](char c) {
    return c > ' ' && c < 0x7f && c != '"' && c != '=' && c != '\\';
  });
}

class LineWriter {
 public:
  explicit LineWriter(LogFormat format) : is_json_(format == LogFormat::kJson) {
    if (is_json_) line_.push_back('{');
  }

  void None(std::string_view name) {
    Begin(name);
    line_.append(is_json_ ? "null" : "-");
  }
  void Text(std::string_view name, std::string_view value) {
    if (value.empty()) return None(name);
    Begin(name);
    if (is_json_ || !IsPlain(value)) {
      AppendJsonString(value, &line_);
    } else {
      line_.append(value);
    }
  }
  void Number(std::string_view name, uint64_t value) {
    Begin(name);
    absl::StrAppend(&line_, value);
  }
  // Writes milliseconds with three decimals; nothing if one of the two never was.
  void Millis(std::string_view name, MonotonicTime from, MonotonicTime to) {
    if (from == FlowRecord::kNever || to == FlowRecord::kNever) return None(name);
    Begin(name);
    const int64_t micros = std::max<int64_t>(0, (to.nanos() - from.nanos()) / 1000);
    absl::StrAppend(&line_, micros / 1000, ".", absl::Dec(micros % 1000, absl::kZeroPad3));
  }
  void Time(std::string_view name, absl::Time time) {
    Text(name, absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", time, absl::UTCTimeZone()));
  }
  std::string Take() {
    line_.append(is_json_ ? "}\n" : "\n");
    return std::move(line_);
  }

 private:
  // Names need no escapes.
  void Begin(std::string_view name) {
    if (!is_first_) line_.push_back(is_json_ ? ',' : ' ');
    is_first_ = false;
    if (is_json_) line_.push_back('"');
    line_.append(name).append(is_json_ ? "\":" : "=");
  }

  const bool is_json_;
  bool is_first_ = true;
  std::string line_;
};

void WriteField(LogField field, const LogEntry& entry, LineWriter& to) {
  const FlowRecord& record = entry.record;
  const std::string_view name = LogFieldName(field);
  const bool has_header = record.header_at != FlowRecord::kNever;
  switch (field) {
    case LogField::kTime:
      return to.Time(name, entry.accepted_at);
    case LogField::kType:
      return to.Text(name, kTypes[static_cast<size_t>(entry.type)]);
    case LogField::kProxy:
      return to.Text(name, entry.proxy_id);
    case LogField::kService:
      return to.Text(name, entry.service);
    case LogField::kMode:
      return to.Text(name, ModeName(entry.mode));
    case LogField::kListener:
      return to.Text(name, record.addresses.destination.ToString());
    case LogField::kClient:
      return to.Text(name, record.addresses.source.ToString());
    case LogField::kEndpoint:
      return record.endpoint == nullptr ? to.None(name)
                                        : to.Text(name, record.endpoint->endpoint_id);
    case LogField::kHeaderMs:
      return to.Millis(name, record.accepted_at, record.header_at);
    case LogField::kQueueMs:
      return to.Millis(name, record.routed_at, record.picked_at);
    case LogField::kConnectMs:
      return to.Millis(name, record.picked_at, record.connected_at);
    case LogField::kFirstByteMs:
      return to.Millis(name, has_header ? record.header_at : record.accepted_at,
                       record.first_byte_at);
    case LogField::kTotalMs:
      return to.Millis(name, record.accepted_at, entry.ended_at);
    case LogField::kToServerBytes:
      return to.Number(name, record.to_server_bytes);
    case LogField::kToClientBytes:
      return to.Number(name, record.to_client_bytes);
    case LogField::kRequests:
      return entry.mode == ForwardingMode::kMessage && entry.type == LogType::kConnection
                 ? to.Number(name, record.requests)
                 : to.None(name);
    case LogField::kRetries:
      return to.Number(name, record.retries);
    case LogField::kEnd:
      return to.Text(name, entry.end);
    case LogField::kEndedBy:
      return to.Text(name, kSides[static_cast<size_t>(entry.ended_by)]);
    case LogField::kPhase:
      return to.Text(name, kPhases[static_cast<size_t>(record.phase)]);
  }
}

FlowRecord::Phase FlowPhaseOf(RequestRecord::Phase phase) {
  switch (phase) {
    case RequestRecord::Phase::kRequest:
      return FlowRecord::Phase::kRequest;
    case RequestRecord::Phase::kQueue:
      return FlowRecord::Phase::kQueue;
    case RequestRecord::Phase::kData:
      break;
  }
  return FlowRecord::Phase::kData;
}

}  // namespace

FlowRecord AsFlowRecord(const RequestRecord& request, const ProxyAddresses& client) {
  FlowRecord record;
  record.phase = FlowPhaseOf(request.phase);
  record.retries = request.retries;
  record.addresses = client;
  record.accepted_at = record.routed_at = request.arrived_at;
  record.picked_at = request.sent_at;
  record.first_byte_at = request.first_byte_at;
  record.to_server_bytes = request.to_server_bytes;
  record.to_client_bytes = request.to_client_bytes;
  record.endpoint = request.endpoint;
  return record;
}

RequestEnd RequestEndOf(const RequestRecord& request, FlowEnd client_end, bool lacks_sockets) {
  const RequestEnd timeout = {.name = FlowEndName(FlowEnd::kTimeout, lacks_sockets),
                              .side = SideOf(FlowEnd::kTimeout),
                              .failed = true};
  const RequestEnd silent = {.name = "no_reply", .side = FlowSide::kServer};
  switch (request.end) {
    case RequestRecord::End::kDone:
      if (request.to_client_bytes == 0) return silent;
      return {.name = FlowEndName(FlowEnd::kClean, lacks_sockets), .side = FlowSide::kServer};
    case RequestRecord::End::kLocal:
      return {.name = "local", .side = FlowSide::kProxy};
    case RequestRecord::End::kTimeout:
      return timeout;
    case RequestRecord::End::kLost:
      client_end = FlowEnd::kConnectionLost;
      break;
    case RequestRecord::End::kOpen:
      // The client could close in order, because the reply need not come.
      if (client_end == FlowEnd::kClean) return silent;
      if (request.timed_out) return timeout;
      break;
  }
  return {
      .name = FlowEndName(client_end, lacks_sockets), .side = SideOf(client_end), .failed = true};
}

const std::vector<LogField>& AllLogFields() {
  static const auto& fields = *[] {
    auto* all = new std::vector<LogField>;
    for (size_t i = 0; i < kNames.size(); ++i) all->push_back(static_cast<LogField>(i));
    return all;
  }();
  return fields;
}

std::string_view LogFieldName(LogField field) { return kNames[static_cast<size_t>(field)]; }

std::optional<LogField> FindLogField(std::string_view name) {
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end()) return std::nullopt;
  return static_cast<LogField>(found - kNames.begin());
}

std::string ConnectionLogLine(const LogEntry& entry, const std::vector<LogField>& fields,
                              LogFormat format) {
  LineWriter writer(format);
  for (const LogField field : fields) WriteField(field, entry, writer);
  return writer.Take();
}

std::string DroppedLinesLine(uint64_t count, absl::Time now, std::string_view proxy_id,
                             LogFormat format) {
  LineWriter writer(format);
  writer.Time("time", now);
  writer.Text("proxy", proxy_id);
  writer.Number("dropped_lines", count);
  return writer.Take();
}

}  // namespace trunkline
