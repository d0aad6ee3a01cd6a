// Pressure stall information: the share of the last ten seconds in which some task waited for a
// resource.
//
// Utilization says how busy a resource is, pressure how much work waits for it. Files:
// /proc/pressure/{cpu,memory,io}, and {cpu,memory,io}.pressure of a version 2 control group; absent
// before Linux 4.20 and where a kernel has it off, which the reader takes as zero. Format: the
// kernel's accounting/psi. Pure and thread-safe.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace trunkline {

// "some avg10=1.23 ...": 0.0123.
absl::StatusOr<double> ParsePressure(absl::string_view text);

}  // namespace trunkline
