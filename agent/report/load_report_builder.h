// Converts samples to a LoadReport message and a directive message to a value. Pure; uses protobuf
// but no gRPC.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "agent/sample/load_sample.h"
#include "trunkline/v1/load_report.pb.h"

namespace trunkline {

// Identifies the agent; constant for the life of the process.
struct AgentIdentity {
  std::string agent_id;
  // Differs at every start.
  std::string boot_id;
  std::string version;
  // host:port at which proxies reach the trunk port.
  std::string trunk_address;
};

// Builds a full-state report. `announce` adds the identity and the endpoints, as the first report
// of a stream must.
v1::ReportLoadRequest BuildLoadReport(const AgentIdentity& identity, uint64_t seq, bool announce,
                                      const std::vector<LoadSample>& samples);

// Report intervals are clamped to this range, so that a mistake of the controller neither silences
// the agent nor floods the controller.
inline constexpr absl::Duration kMinReportInterval = absl::Milliseconds(100);
inline constexpr absl::Duration kMaxReportInterval = absl::Seconds(60);

struct Directive {
  struct EndpointState {
    std::string service;
    std::string endpoint_id;
    bool draining = false;
    friend bool operator==(const EndpointState&, const EndpointState&) = default;
  };
  // An endpoint that the controller does not accept.
  struct Refusal {
    std::string service;
    std::string endpoint_id;
    std::string reason;
    friend bool operator==(const Refusal&, const Refusal&) = default;
  };
  // nullopt keeps the current interval.
  std::optional<absl::Duration> report_interval;
  std::vector<EndpointState> endpoints;
  std::vector<Refusal> refused;
};

Directive ReadDirective(const v1::ReportLoadResponse& directive);

}  // namespace trunkline
