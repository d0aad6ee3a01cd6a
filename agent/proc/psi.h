// Parses pressure stall information: the share of the last ten seconds in which some task waited
// for a resource.
//
// Utilization shows how busy a resource is, pressure how much work waits for it. The files are
// /proc/pressure/{cpu,memory,io}, and {cpu,memory,io}.pressure of a version 2 control group. Linux
// before 4.20 and kernels with PSI disabled lack them; pressure is unknown then. Format: the
// kernel's accounting/psi. Pure and thread-safe.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace trunkline {

// Returns 0.0123 for "some avg10=1.23 ...".
absl::StatusOr<double> ParsePressure(absl::string_view text);

}  // namespace trunkline
