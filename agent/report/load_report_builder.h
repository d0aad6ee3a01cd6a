// From samples to the LoadReport on the wire, and from a directive on the wire to a value. Pure:
// protobuf, no gRPC.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "agent/sample/load_sample.h"
#include "trunkline/v1/load_report.pb.h"

namespace trunkline {

// Who reports; constant for the life of the process.
struct AgentIdentity {
  std::string agent_id;
  // New at each start.
  std::string boot_id;
  std::string version;
  // host:port at which proxies reach the trunk port.
  std::string trunk_address;
};

// A full-state report; `announce`: also say who and what is there, as the first report of a stream
// must.
v1::LoadReport BuildLoadReport(const AgentIdentity& identity, uint64_t seq, bool announce,
                               const std::vector<LoadSample>& samples);

// What a controller may ask for; outside of it the nearest bound is taken, so that no mistake there
// silences or floods it.
inline constexpr absl::Duration kMinReportInterval = absl::Milliseconds(100);
inline constexpr absl::Duration kMaxReportInterval = absl::Seconds(60);

struct Directive {
  struct EndpointState {
    std::string service;
    std::string endpoint_id;
    bool draining = false;
    friend bool operator==(const EndpointState&, const EndpointState&) = default;
  };
  // nullopt: as before.
  std::optional<absl::Duration> report_interval;
  std::vector<EndpointState> endpoints;
};

Directive ReadDirective(const v1::AgentDirective& directive);

}  // namespace trunkline
