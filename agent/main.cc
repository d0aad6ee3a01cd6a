// trunkline-agent reports a server's load and terminates trunks beside it. Wires all parts.
#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/agent_metrics.h"
#include "agent/agent_settings.h"
#include "agent/agent_wiring.h"
#include "agent/report/load_reporter.h"
#include "agent/report/sampling_loop.h"
#include "agent/sample/load_sample.h"
#include "agent/sample/load_sampler.h"
#include "agent/sample/port_watch.h"
#include "agent/sample/service_traffic.h"
#include "agent/sample/sock_diag_socket.h"
#include "agent/trunk/trunk_server.h"
#include "common/base/system_files.h"
#include "common/grpc/grpc_log.h"
#include "common/net/address.h"
#include "common/observe/admin_http.h"
#include "common/observe/log.h"
#include "common/observe/metrics_page.h"
#include "common/program/program.h"
#include "common/program/trunk_tls_config.h"
#include "common/trunk/trunk_tls.h"
#include "trunkline/v1/config.pb.h"

namespace trunkline {
namespace {

int Run(Program& program, const AgentSettings& settings, std::shared_ptr<const TrunkTls> tls) {
  LogGrpcThroughOurLog();
  const auto names = ResolveTargets(settings);
  TrafficTable traffic(settings.workers, settings.services.size());
  const auto trunks = TrunkServer::Start(TrunkOptions(settings, std::move(tls), *names), traffic);
  if (!trunks.ok()) return program.Fail(trunks.status());
  const SystemFiles files;
  PortWatch ports(files, ServerPorts(settings), SmallestConnectionLimit(settings), DumpSockets);
  LoadSampler sampler(files, traffic, SamplerOptions(files, settings, ports, *names));
  SamplingLoop loop(sampler, kFirstReportInterval);
  LoadReporter reporter(ReporterOptions(settings, (*trunks)->port(), loop));

  MetricsPage metrics("trunkline-agent");
  metrics.Register([&](MetricsWriter& writer) {
    CollectAgentMetrics(settings.services, traffic, loop, reporter, writer);
    (*trunks)->Collect(writer);
    names->Collect(writer);
  });
  std::atomic<bool> stopping = false;
  // Trunks work without a controller, so the agent is ready without one.
  const auto http = AdminHttp::Start(
      settings.admin_listen, metrics,
      [&] { return std::string(stopping ? "stopping: open streams may finish" : ""); },
      [&] { return FaultsOf(loop, reporter); });
  if (!http.ok()) return program.Fail(http.status());

  ports.Start();
  loop.Start([&](std::vector<LoadSample> due) { reporter.Offer(std::move(due)); },
             [&](const std::vector<LoadSample>& latest) { SetUtilizations(latest, traffic); });
  LogInfo("admin HTTP listens on {}", WithPort(settings.admin_listen, (*http)->port()));
  LogInfo("accepting trunks on {}", WithPort(settings.trunk_listen.ToString(), (*trunks)->port()));

  program.WaitForStop();
  stopping = true;
  loop.Stop();
  // The controller is notified first, so that proxies open no new streams; then open streams drain.
  reporter.Stop(kLeaveTimeout);
  (*trunks)->Drain(settings.drain_timeout);
  return 0;
}

}  // namespace
}  // namespace trunkline

int main(int argc, char** argv) {
  using namespace trunkline;
  v1::AgentConfig config;
  absl::StatusOr<AgentSettings> settings = absl::UnknownError("not read yet");
  absl::StatusOr<std::shared_ptr<const TrunkTls>> tls = absl::UnknownError("not read yet");
  Program program("trunkline-agent",
                  "Reports a server's load to the controller and terminates trunks beside it.");
  const auto read = [&] {
    settings = ReadAgentConfig(config);
    tls = LoadTrunkTls(config);
    return settings.ok() ? tls.status() : settings.status();
  };
  if (auto exit_code = program.Start(argc, argv, &config, read)) return *exit_code;
  return Run(program, *settings, *std::move(tls));
}
