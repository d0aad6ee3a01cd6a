// Load reports from the wire to plain values, validated once, here.
//
// Past this point every number is finite and within reason, every name is printable and of bounded
// length. An error is INVALID_ARGUMENT and names the agent, the field, what was expected and what
// came; the stream ends with it. Unknown services and endpoints are the registry's business.
// Thread-safe: no state.
#pragma once

#include <optional>
#include <string>
#include <string_view>
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

// Names become metric labels and table cells.
constexpr size_t kMaxNameLength = 128;
// An application's own metrics in one report.
constexpr int kMaxNamedMetrics = 32;

// `agent_id` as announced, for errors; empty while it is not known.
absl::StatusOr<ValidReport> ReadLoadReport(const v1::LoadReport& report,
                                           const std::string& agent_id);

// Names of agents, proxies, services and endpoints.
absl::Status CheckName(std::string_view field, const std::string& name);

}  // namespace trunkline
