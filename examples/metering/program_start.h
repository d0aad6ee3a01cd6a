// Process-wide setup of the example's programs: descriptor limit and signals. Called by main before
// other threads start.
#pragma once

namespace trunkline::metering {

// Raises the soft descriptor limit to the hard limit, which ten thousand connections need.
void RaiseDescriptorLimit();

// Ignores SIGPIPE and blocks SIGTERM and SIGINT for WaitForStopSignal; threads started later
// inherit this.
void KeepStopSignals();
// Returns at SIGTERM or SIGINT. Further signals stay blocked: stopping has its own deadline.
void WaitForStopSignal();

}  // namespace trunkline::metering
