// Validates load reports and converts them to plain values.
//
// In the result, every number is finite and plausible, and every name is printable and of bounded
// length. Errors are INVALID_ARGUMENT and name the agent, the field, the valid values and the
// value. EndpointRegistry checks services and endpoints. Thread-safe; keeps no state.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "controller/core/load_report.h"
#include "trunkline/v1/load_report.pb.h"

namespace trunkline {

struct ValidReport {
  std::optional<AnnouncedAgent> announcement;
  uint64_t seq = 0;
  std::vector<ReportedLoad> loads;
  bool leaving = false;
};

// Bounds the application's own metrics in one report.
constexpr int kMaxNamedMetrics = 32;

// `agent_id` appears in errors; empty before the announcement.
absl::StatusOr<ValidReport> ReadLoadReport(const v1::ReportLoadRequest& report,
                                           const std::string& agent_id);

}  // namespace trunkline
