// Turns the configuration into the options of the control loop, and loads the state file. Reads the
// clock and files. Thread-safe; keeps no state.
#pragma once

#include "absl/status/statusor.h"
#include "controller/loop/control_loop.h"
#include "controller/loop/state_store.h"
#include "controller/wire/config.h"

namespace trunkline {

// `store` must outlive the control loop, which writes to it if the configuration names a state
// file. Returns the error of StateStore::Load if the file exists but cannot be used.
absl::StatusOr<ControlLoop::Options> LoadLoopOptions(const ControllerSettings& settings,
                                                     const StateStore& store);

}  // namespace trunkline
