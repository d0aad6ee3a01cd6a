// trunkline-controller: receives load reports, publishes weights. Composes the controller's parts.
#include <malloc.h>

#include <optional>
#include <string>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/grpc/grpc_log.h"
#include "common/net/address.h"
#include "common/observe/admin_http.h"
#include "common/observe/log.h"
#include "common/observe/metrics_page.h"
#include "common/program/program.h"
#include "controller/config_reload.h"
#include "controller/controller_metrics.h"
#include "controller/controller_settings.h"
#include "controller/core/proxy_table.h"
#include "controller/loop/control_loop.h"
#include "controller/loop/state_lock.h"
#include "controller/loop/state_store.h"
#include "controller/serve/grpc_server.h"
#include "controller/wire/config.h"
#include "trunkline/v1/config.pb.h"

namespace trunkline {
namespace {

// With thousands of endpoints, ticks and the state file need buffers of megabytes for a moment. By
// default glibc comes to take those from the heap, which then stays as large as it was with them.
void ReturnLargeBuffers() {
  constexpr int kLargeBytes = 1 << 20;
  mallopt(M_MMAP_THRESHOLD, kLargeBytes);
  mallopt(M_TRIM_THRESHOLD, 8 * kLargeBytes);
}

int Run(Program& program, const v1::ControllerConfig& config, const ControllerSettings& settings) {
  LogGrpcThroughOurLog();
  const StateStore store(settings.state_file);
  std::optional<StateLock> lock;
  const absl::StatusOr<ControlLoop::Options> options = LoadLoopOptions(settings, store, &lock);
  if (!options.ok()) return program.Fail(std::string(options.status().message()));
  ControlLoop loop(*options);
  ProxyTable proxies;
  ConfigReload reload(program.config_path(), config, loop, Program::RequestReload);
  GrpcServer server(loop, proxies,
                    [&](ConfigReload::Done done) { reload.Request(std::move(done)); });
  const absl::Cleanup stop = [&] {
    // An unanswered call would keep the server from stopping, and the loop calls the server.
    reload.Stop();
    server.Shutdown();
    loop.Stop();
  };
  if (absl::Status started = server.Start(settings.grpc_listen); !started.ok()) {
    return program.Fail(std::string(started.message()));
  }
  if (absl::Status started = loop.Start(); absl::IsResourceExhausted(started)) {
    LogError("state_file: the disk is full; drains and pins are refused until it can write: {}",
             std::string(started.message()));
  } else if (!started.ok()) {
    return program.Fail(absl::StrCat("state_file: ", started.message()));
  }
  MetricsPage metrics("trunkline-controller");
  metrics.Register([&](MetricsWriter& writer) { CollectControllerMetrics(loop, proxies, writer); });
  metrics.Register([&](MetricsWriter& writer) { reload.Collect(writer); });
  const auto http = AdminHttp::Start(settings.admin_listen, metrics, [] { return std::string(); });
  if (!http.ok()) return program.Fail(std::string(http.status().message()));

  LogInfo("gRPC listens on {}", WithPort(settings.grpc_listen, server.port()));
  LogInfo("admin HTTP listens on {}", WithPort(settings.admin_listen, (*http)->port()));
  LogStart(settings, loop.view()->snapshot->id);
  program.WaitForStop([&] { reload.Run(); });
  return 0;
}

}  // namespace
}  // namespace trunkline

int main(int argc, char** argv) {
  using namespace trunkline;
  ReturnLargeBuffers();
  v1::ControllerConfig config;
  absl::StatusOr<ControllerSettings> settings = absl::UnknownError("not read yet");
  Program program("trunkline-controller",
                  "Computes the weights of endpoints from agents' load reports, for proxies.");
  const auto read = [&] {
    settings = ReadControllerConfig(config);
    return settings.status();
  };
  if (auto exit_code = program.Start(argc, argv, &config, read)) return *exit_code;
  return Run(program, config, *settings);
}
