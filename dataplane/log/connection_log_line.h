// Writes a line of the connection log: the fields that are configured, in their order, as text or
// as one JSON object. The line of a request has the same fields as that of a connection.
//
//   text  service=metering client=192.0.2.7:40112 connect_ms=0.412 end=clean
//   json  {"service":"metering","client":"192.0.2.7:40112","connect_ms":0.412,"end":"clean"}
//
// A field without a value is "-" in text and null in JSON. docs/connection-log.md describes the
// fields. Stateless and thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "common/base/forwarding_mode.h"
#include "common/observe/log.h"
#include "dataplane/flow/flow_record.h"

namespace trunkline {

enum class LogField {
  kTime,
  kType,
  kProxy,
  kService,
  kMode,
  kListener,
  kClient,
  kEndpoint,
  kHeaderMs,
  kQueueMs,
  kConnectMs,
  kFirstByteMs,
  kTotalMs,
  kToServerBytes,
  kToClientBytes,
  kRequests,
  kRetries,
  kEnd,
  kEndedBy,
  kPhase,
};

// All fields, in the order that a line has by default.
const std::vector<LogField>& AllLogFields();
std::string_view LogFieldName(LogField field);
// Returns nothing if no field has this name.
std::optional<LogField> FindLogField(std::string_view name);

enum class LogType : uint8_t { kConnection, kRequest };

// A connection or a request that has ended.
struct LogEntry {
  LogType type = LogType::kConnection;
  const FlowRecord& record;
  std::string_view proxy_id = {};
  std::string_view service = {};
  ForwardingMode mode = ForwardingMode::kTunnel;
  std::string_view end = {};  // FlowEndName, or RequestEnd::name
  FlowSide ended_by = FlowSide::kNone;
  MonotonicTime ended_at = {};
  absl::Time accepted_at = {};  // by the wall clock; of a request, when it arrived
};

// Returns the request as a record that has its values in the fields of a line.
FlowRecord AsFlowRecord(const RequestRecord& request, const ProxyAddresses& client);
// How a request ended. `client_end` is the end of its client, which only a request has that was
// open then.
struct RequestEnd {
  std::string_view name;
  FlowSide side = FlowSide::kNone;
  bool failed = false;
};
RequestEnd RequestEndOf(const RequestRecord& request, FlowEnd client_end, bool lacks_sockets);

// Returns the line with its line break.
std::string ConnectionLogLine(const LogEntry& entry, const std::vector<LogField>& fields,
                              LogFormat format);
// Returns the line that stands for `count` lines that were dropped before it.
std::string DroppedLinesLine(uint64_t count, absl::Time now, std::string_view proxy_id,
                             LogFormat format);

}  // namespace trunkline
