// What the example's command-line programs do before their own work: descriptor limit, signals.
// Used by main threads, before other threads start.
#pragma once

namespace trunkline::metering {

// Raises the soft descriptor limit to the hard one: ten thousand connections need it.
void RaiseDescriptorLimit();

// Ignores SIGPIPE and keeps SIGTERM and SIGINT for WaitForStopSignal; threads started later inherit
// that.
void KeepStopSignals();
// Returns at SIGTERM or SIGINT. Later ones are ignored: stopping has its own deadline.
void WaitForStopSignal();

}  // namespace trunkline::metering
