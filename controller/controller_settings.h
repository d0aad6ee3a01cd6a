// Turns the configuration into the options of the control loop, and loads the state file. Reads the
// clock and files. Thread-safe; keeps no state.
#pragma once

#include <optional>

#include "absl/status/statusor.h"
#include "controller/loop/control_loop.h"
#include "controller/loop/state_lock.h"
#include "controller/loop/state_store.h"
#include "controller/wire/config.h"

namespace trunkline {

// Returns the options that a reload can change.
ControlLoop::Options LoopOptionsOf(const ControllerSettings& settings);

// `store` must outlive the control loop, which writes to it if the configuration names a state
// file. Sets `*lock` to the lock of that file, which must be held as long. Returns an error if
// another controller holds it, if the file cannot be read or written, or if it is the state of
// another cluster. A full disk is no error: the controller starts without changes to its state.
absl::StatusOr<ControlLoop::Options> LoadLoopOptions(const ControllerSettings& settings,
                                                     const StateStore& store,
                                                     std::optional<StateLock>* lock);

// Logs what the controller serves from its first snapshot on.
void LogStart(const ControllerSettings& settings, const SnapshotVersion& id);

}  // namespace trunkline
