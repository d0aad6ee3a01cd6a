// Converts the history of weights to responses. An unknown service or endpoint is NOT_FOUND; the
// error names the known ones. Pure. Thread-safe; keeps no state.
#pragma once

#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "controller/core/control_core.h"
#include "controller/core/weight_history.h"
#include "trunkline/v1/weights.pb.h"

namespace trunkline {

// Returns one page. `view` names the services. A page token that no response had is
// INVALID_ARGUMENT.
absl::StatusOr<v1::GetWeightHistoryResponse> WriteHistory(
    const WeightHistory& history, const ControllerView& view,
    const v1::GetWeightHistoryRequest& request, MonotonicTime now);

}  // namespace trunkline
