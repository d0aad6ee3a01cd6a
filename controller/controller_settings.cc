#include "controller/controller_settings.h"

#include <optional>
#include <utility>

#include "absl/time/clock.h"

namespace trunkline {

absl::StatusOr<ControlLoop::Options> LoadLoopOptions(const ControllerSettings& settings,
                                                     const StateStore& store) {
  ControlLoop::Options options;
  options.core.services = settings.services;
  options.core.report_interval = settings.report_interval;
  options.core.slow_start = settings.slow_start;
  options.tick_interval = settings.tick_interval;
  if (!settings.state_file.empty()) {
    absl::StatusOr<std::optional<StoredState>> stored = store.Load();
    if (!stored.ok()) return stored.status();
    options.core.stored = *std::move(stored);
    options.store = &store;
  }
  options.core.first =
      FirstVersion(options.core.stored, static_cast<uint64_t>(absl::ToUnixSeconds(absl::Now())));
  return options;
}

}  // namespace trunkline
