#include "controller/config_reload.h"

#include <google/protobuf/util/message_differencer.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/config/config.h"
#include "common/observe/log.h"
#include "common/observe/metrics_page.h"
#include "controller/controller_settings.h"
#include "controller/core/snapshot_publisher.h"
#include "controller/loop/control_loop.h"
#include "controller/wire/config.h"
#include "trunkline/v1/config.pb.h"

namespace trunkline {
namespace {

// Returns the fields of `config` that differ and that only a restart applies.
std::vector<std::string> FieldsForARestart(const v1::ControllerConfig& before,
                                           const v1::ControllerConfig& now) {
  std::vector<std::string> fields;
  if (before.grpc_listen() != now.grpc_listen()) fields.push_back("grpc_listen");
  if (before.admin_listen() != now.admin_listen()) fields.push_back("admin_listen");
  if (before.state_file() != now.state_file()) fields.push_back("state_file");
  if (before.cluster_id() != now.cluster_id()) fields.push_back("cluster_id");
  if (!google::protobuf::util::MessageDifferencer::Equals(before.log(), now.log())) {
    fields.push_back("log");
  }
  return fields;
}

}  // namespace

ConfigReload::ConfigReload(std::string path, v1::ControllerConfig config, ControlLoop& loop,
                           std::function<void()> wake)
    : path_(std::move(path)),
      started_with_(std::move(config)),
      loop_(loop),
      wake_(std::move(wake)),
      last_success_(absl::Now()) {}

void ConfigReload::Request(Done done) {
  {
    absl::MutexLock lock(&mutex_);
    if (!stopped_) {
      waiting_.push_back(std::move(done));
      done = nullptr;
    }
  }
  if (done != nullptr) return done(absl::UnavailableError("the controller is stopping"));
  wake_();
}

void ConfigReload::Run() {
  const auto answer = [waiting = TakeWaiting()](const absl::StatusOr<SnapshotVersion>& result) {
    for (const Done& done : waiting) done(result);
  };
  const absl::Status reloaded = Reload(answer);
  Count(reloaded);
  if (!reloaded.ok()) answer(reloaded);
}

absl::Status ConfigReload::Reload(Done done) {
  v1::ControllerConfig config;
  if (absl::Status loaded = LoadConfigFile(path_, &config); !loaded.ok()) return loaded;
  const absl::StatusOr<ControllerSettings> settings = ReadControllerConfig(config);
  if (!settings.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ": ",
                     absl::StrReplaceAll(settings.status().message(),
                                         {{"\n", absl::StrCat("\n", path_, ": ")}})));
  }
  if (const auto fields = FieldsForARestart(started_with_, config); !fields.empty()) {
    LogWarn("{}: changes of {} take effect at the next start of the controller", path_,
            absl::StrJoin(fields, ", "));
  }
  loop_.Reload(LoopOptionsOf(*settings), std::move(done));
  LogInfo("{} reloaded: {} services", path_, settings->services.size());
  return absl::OkStatus();
}

void ConfigReload::Count(const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  ++(status.ok() ? successes_ : failures_);
  last_failed_ = !status.ok();
  if (status.ok()) {
    last_success_ = absl::Now();
  } else {
    LogError("configuration not reloaded, the previous one stays in effect: {}",
             std::string(status.message()));
  }
}

std::vector<ConfigReload::Done> ConfigReload::TakeWaiting() {
  absl::MutexLock lock(&mutex_);
  return std::exchange(waiting_, {});
}

void ConfigReload::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopped_ = true;
  }
  for (const Done& done : TakeWaiting()) done(absl::UnavailableError("the controller is stopping"));
}

void ConfigReload::Collect(MetricsWriter& writer) const {
  absl::MutexLock lock(&mutex_);
  constexpr char kReloads[] = "Reloads of the configuration file, by result";
  writer.AddCounter("controller_config_reloads_total", kReloads, {{"result", "success"}},
                    static_cast<double>(successes_));
  writer.AddCounter("controller_config_reloads_total", kReloads, {{"result", "failure"}},
                    static_cast<double>(failures_));
  writer.AddGauge("controller_config_last_reload_successful",
                  "0 if the last reload of the configuration file failed, else 1", {},
                  last_failed_ ? 0 : 1);
  writer.AddGauge("controller_config_last_success_timestamp_seconds",
                  "Time at which the configuration in effect was read, in seconds since 1970", {},
                  absl::ToDoubleSeconds(last_success_ - absl::UnixEpoch()));
}

}  // namespace trunkline
