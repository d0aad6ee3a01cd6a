#include "controller/controller_settings.h"

#include <cstdint>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/observe/log.h"
#include "controller/core/control_core.h"
#include "controller/core/snapshot_publisher.h"
#include "controller/core/stored_state.h"
#include "controller/loop/control_loop.h"
#include "controller/loop/state_lock.h"
#include "controller/loop/state_store.h"
#include "controller/wire/config.h"

namespace trunkline {
namespace {

uint64_t UnixSeconds() { return static_cast<uint64_t>(absl::ToUnixSeconds(absl::Now())); }

// Chooses the id of the first snapshot, and writes the file before proxies can get that snapshot:
// otherwise the next start would give the same id to another one.
absl::Status ClaimFirstVersion(const StateStore& store, ControlLoop::Options* options) {
  std::optional<StoredState>& stored = options->core.stored;
  options->core.first = FirstVersion(stored, UnixSeconds());
  StoredState claimed = stored.value_or(StoredState{});
  if (!stored.has_value()) claimed.epoch = options->core.first.epoch;
  claimed.cluster_id = options->cluster_id;
  claimed.orderly = false;
  absl::Status saved = store.Save(claimed);
  if (absl::IsResourceExhausted(saved)) {
    // The file still says that the last stop was orderly, so take an epoch of this start's own.
    if (stored.has_value()) stored->orderly = false;
    options->core.first = FirstVersion(stored, UnixSeconds());
    return absl::OkStatus();
  }
  if (saved.ok()) return saved;
  return {saved.code(), absl::StrCat("state_file: ", saved.message())};
}

absl::Status LoadState(const ControllerSettings& settings, const StateStore& store,
                       std::optional<StateLock>* lock, ControlLoop::Options* options) {
  absl::StatusOr<StateLock> taken = StateLock::Take(settings.state_file);
  if (!taken.ok()) return taken.status();
  lock->emplace(*std::move(taken));
  absl::StatusOr<std::optional<StoredState>> stored = store.Load();
  if (!stored.ok()) return stored.status();
  absl::StatusOr<std::string> id =
      ChooseClusterId(settings.state_file, settings.cluster_id,
                      stored->has_value() ? (*stored)->cluster_id : "", (*lock)->cluster_id());
  if (!id.ok()) return id.status();
  options->cluster_id = *id;
  options->core.stored = *std::move(stored);
  options->store = &store;
  if (absl::Status claimed = ClaimFirstVersion(store, options); !claimed.ok()) return claimed;
  // After the state file, so that a crash in between leaves no file that contradicts the lock.
  if (absl::Status kept = (*lock)->SetClusterId(*id); !kept.ok()) {
    LogWarn("the id of the cluster is not kept beside the state file: {}",
            std::string(kept.message()));
  }
  return absl::OkStatus();
}

}  // namespace

ControlLoop::Options LoopOptionsOf(const ControllerSettings& settings) {
  ControlLoop::Options options;
  options.core.services = settings.services;
  options.core.report_interval = settings.report_interval;
  options.core.slow_start = settings.slow_start;
  options.core.forget_after = settings.forget_after;
  options.core.agents_return = ControlCore::kAgentsReturn;
  options.tick_interval = settings.tick_interval;
  return options;
}

absl::StatusOr<ControlLoop::Options> LoadLoopOptions(const ControllerSettings& settings,
                                                     const StateStore& store,
                                                     std::optional<StateLock>* lock) {
  ControlLoop::Options options = LoopOptionsOf(settings);
  if (settings.state_file.empty()) {
    options.core.first = FirstVersion(std::nullopt, UnixSeconds());
    return options;
  }
  if (absl::Status loaded = LoadState(settings, store, lock, &options); !loaded.ok()) return loaded;
  return options;
}

void LogStart(const ControllerSettings& settings, const SnapshotVersion& id) {
  LogInfo(
      "serving {} services from snapshot {}/{}{}; gRPC and HTTP have no TLS, so keep their "
      "ports private",
      settings.services.size(), id.epoch, id.version,
      settings.state_file.empty() ? "; without state_file a restart loses learned capacities, "
                                    "drains and pins"
                                  : "");
}

}  // namespace trunkline
