// trunkline-controller: reports in, weights out. The one place that knows every part.
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/observe/admin_http.h"
#include "common/observe/log.h"
#include "common/program/program.h"
#include "controller/controller_metrics.h"
#include "controller/loop/control_loop.h"
#include "controller/loop/state_store.h"
#include "controller/serve/grpc_server.h"
#include "controller/wire/config.h"

namespace trunkline {
namespace {

// Where a listener ended up, for the log: the configured host and the port that is bound.
std::string Bound(const std::string& listen, int port) {
  return absl::StrCat(listen.substr(0, listen.rfind(':')), ":", port);
}

absl::Status LoadState(const ControllerSettings& settings, const StateStore& store,
                       ControlCore::Options* core) {
  if (!settings.state_file.empty()) {
    absl::StatusOr<std::optional<StoredState>> stored = store.Load();
    if (!stored.ok()) return stored.status();
    core->stored = *std::move(stored);
  }
  core->first = FirstVersion(core->stored, static_cast<uint64_t>(absl::ToUnixSeconds(absl::Now())));
  return absl::OkStatus();
}

int Run(Program& program, const ControllerSettings& settings) {
  const StateStore store(settings.state_file);
  ControlLoop::Options options;
  options.core.services = settings.services;
  options.core.report_interval = settings.report_interval;
  options.core.slow_start = settings.slow_start;
  options.tick_interval = settings.tick_interval;
  if (!settings.state_file.empty()) options.store = &store;
  if (absl::Status loaded = LoadState(settings, store, &options.core); !loaded.ok()) {
    return program.Fail(std::string(loaded.message()));
  }
  ControlLoop loop(options);
  ProxyTable proxies;
  GrpcServer server(loop, proxies);
  // The port first: whoever has it owns the state file as well.
  if (absl::Status listening = server.Start(settings.grpc_listen); !listening.ok()) {
    return program.Fail(std::string(listening.message()));
  }
  if (absl::Status begun = loop.Start(); !begun.ok()) {
    return program.Fail(absl::StrCat("state_file: ", begun.message()));
  }
  MetricsPage metrics("trunkline-controller");
  metrics.Register([&](MetricsWriter& writer) { CollectControllerMetrics(loop, proxies, writer); });
  absl::StatusOr<std::unique_ptr<AdminHttp>> http =
      AdminHttp::Start(settings.admin_listen, metrics, [] { return std::string(); });
  if (!http.ok()) return program.Fail(std::string(http.status().message()));

  const SnapshotVersion id = loop.view()->snapshot->id;
  LogInfo("gRPC on {}", Bound(settings.grpc_listen, server.port()));
  LogInfo("http on {}", Bound(settings.admin_listen, (*http)->port()));
  LogInfo("serving {} services from snapshot {}/{}{}; no TLS, so keep these ports private",
          settings.services.size(), id.epoch, id.version,
          settings.state_file.empty() ? "; no state_file: nothing survives a restart" : "");
  program.WaitForStop();
  server.Shutdown();
  loop.Stop();
  return 0;
}

}  // namespace
}  // namespace trunkline

int main(int argc, char** argv) {
  using namespace trunkline;
  v1::ControllerConfig config;
  absl::StatusOr<ControllerSettings> settings = absl::UnknownError("not read yet");
  Program program("trunkline-controller", "Turns servers' load reports into weights for proxies.");
  const auto read = [&] {
    settings = ReadControllerConfig(config);
    return settings.status();
  };
  if (auto exit_code = program.Start(argc, argv, &config, read)) return *exit_code;
  return Run(program, *settings);
}
