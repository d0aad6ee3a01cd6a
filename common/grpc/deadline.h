// A deadline of a gRPC call or shutdown by the monotonic clock. gRPC also takes times of the wall
// clock, but a step of that clock moves them. Stateless; thread-safe.
#pragma once

#include <grpc/support/time.h>

#include "absl/time/time.h"

namespace trunkline {

inline gpr_timespec GrpcDeadline(absl::Duration timeout) {
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                      gpr_time_from_nanos(absl::ToInt64Nanoseconds(timeout), GPR_TIMESPAN));
}

}  // namespace trunkline
