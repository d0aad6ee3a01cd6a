// trunkline-agent: says how loaded a server is, and ends proxies' trunks beside it. The one place
// that knows every part.
#include <unistd.h>

#include <atomic>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "agent/agent_metrics.h"
#include "agent/agent_settings.h"
#include "agent/report/load_reporter.h"
#include "agent/report/sampling_loop.h"
#include "agent/sample/connect_probe.h"
#include "agent/sample/load_sampler.h"
#include "agent/sample/port_watch.h"
#include "agent/sample/service_traffic.h"
#include "agent/sample/sock_diag_socket.h"
#include "agent/trunk/trunk_server.h"
#include "common/base/system_files.h"
#include "common/base/version.h"
#include "common/inband/inband_report.h"
#include "common/net/timer_wheel.h"
#include "common/observe/admin_http.h"
#include "common/observe/log.h"
#include "common/program/program.h"
#include "common/program/trunk_tls_config.h"

namespace trunkline {
namespace {

// Until the controller says otherwise.
constexpr absl::Duration kReportInterval = absl::Seconds(1);
// A local server that has not taken a connection by then is as good as down; the sampler waits for
// it.
constexpr absl::Duration kProbeTimeout = absl::Milliseconds(200);
// To tell the controller good-bye: a healthy one takes milliseconds.
constexpr absl::Duration kLeaveTimeout = absl::Seconds(1);

// Two starts never have the same.
std::string NewBootId() {
  std::random_device random;
  return absl::StrFormat("%08x%08x", random(), random());
}

std::vector<ServiceSamplerOptions> SamplerOptions(const AgentSettings& settings,
                                                  const PortWatch& ports) {
  std::vector<ServiceSamplerOptions> services;
  for (const LocalServiceSettings& local : settings.services) {
    const auto probe = std::make_shared<const ConnectProbe>(local.target);
    ServiceSamplerOptions service;
    service.service = local.service;
    service.endpoint_id = local.endpoint_id;
    service.capacity_hint = local.capacity_hint;
    service.server_address = local.server_address;
    service.cpu = local.cpu;
    service.cpu.ticks_per_second = static_cast<double>(sysconf(_SC_CLK_TCK));
    service.cpu.find_server = [probe] { return probe->ServerPid(); };
    service.port = local.port;
    service.streams_use_port = !local.target.is_unix() && local.target.port == local.port;
    service.max_connections = local.max_connections;
    service.count_connections = [&ports](uint16_t port) { return ports.Latest(port); };
    service.try_connect = [probe] { return probe->Try(kProbeTimeout); };
    services.push_back(std::move(service));
  }
  return services;
}

// Of servers on TCP.
std::vector<uint16_t> ServerPorts(const AgentSettings& settings) {
  std::vector<uint16_t> ports;
  for (const LocalServiceSettings& local : settings.services) {
    if (local.port != 0) ports.push_back(local.port);
  }
  return ports;
}

// Of connections to those; 0: none has one.
uint64_t SmallestLimit(const AgentSettings& settings) {
  uint64_t smallest = 0;
  for (const LocalServiceSettings& local : settings.services) {
    if (local.port == 0 || local.max_connections == 0) continue;
    if (smallest == 0 || local.max_connections < smallest) smallest = local.max_connections;
  }
  return smallest;
}

TrunkServer::Options TrunkOptions(const AgentSettings& settings,
                                  std::shared_ptr<const TrunkTls> tls) {
  TrunkServer::Options options;
  options.tls = std::move(tls);
  options.listen = settings.trunk_listen;
  options.max_streams = settings.max_streams_per_trunk;
  options.connect_timeout = settings.connect_timeout;
  for (const LocalServiceSettings& local : settings.services) {
    options.services.push_back({local.service, local.target, local.send_proxy_protocol});
  }
  return options;
}

// What a pick knows of utilization is 100 ms old at most: it was read a fast period ago and waited
// for its turn on the trunk, by a timer with slots. Ten milliseconds are for the way.
static_assert(SamplingLoop::kFastPeriod <= absl::Milliseconds(100 - 10 - kInbandReportGapMillis -
                                                              TimerWheel::kSlotNanos / 1'000'000));

int Run(Program& program, const AgentSettings& settings, std::shared_ptr<const TrunkTls> tls) {
  TrafficTable traffic(settings.workers, settings.services.size());
  absl::StatusOr<std::unique_ptr<TrunkServer>> trunks =
      TrunkServer::Start(TrunkOptions(settings, std::move(tls)), traffic);
  if (!trunks.ok()) return program.Fail(std::string(trunks.status().message()));
  Address trunk_address = settings.trunk_listen;
  trunk_address.port = static_cast<uint16_t>((*trunks)->port());

  const SystemFiles files;
  PortWatch ports(files, ServerPorts(settings), SmallestLimit(settings), DumpSockets);
  LoadSampler sampler(files, traffic,
                      {.services = SamplerOptions(settings, ports),
                       .nic = settings.nic,
                       .nic_bits_per_second = settings.nic_bits_per_second});
  SamplingLoop loop(sampler, kReportInterval);
  LoadReporter reporter(
      {.controller = settings.controller,
       .identity = {.agent_id = settings.agent_id,
                    .boot_id = NewBootId(),
                    .version = kVersion,
                    .trunk_address = settings.trunk_advertise.empty() ? trunk_address.ToString()
                                                                      : settings.trunk_advertise},
       .on_directive = [&](const Directive& directive) {
         if (directive.report_interval.has_value()) {
           loop.SetInterval(*directive.report_interval);
         }
       }});

  std::vector<std::string> names;
  for (const LocalServiceSettings& local : settings.services) names.push_back(local.service);
  MetricsPage metrics("trunkline-agent");
  metrics.Register([&](MetricsWriter& writer) {
    CollectAgentMetrics(names, traffic, loop, reporter, writer);
    (*trunks)->Collect(writer);
  });
  std::atomic<bool> stopping = false;
  // Ready without a controller: trunks are what proxies need of it.
  absl::StatusOr<std::unique_ptr<AdminHttp>> http =
      AdminHttp::Start(settings.admin_listen, metrics,
                       [&] { return std::string(stopping ? "stopping: streams may finish" : ""); });
  if (!http.ok()) return program.Fail(std::string(http.status().message()));

  ports.Start();
  loop.Start([&](std::vector<LoadSample> due) { reporter.Offer(std::move(due)); },
             [&](const std::vector<LoadSample>& samples) {
               for (size_t i = 0; i < samples.size(); ++i) {
                 traffic.SetUtilization(i, samples[i].Utilization());
               }
             });
  const size_t host_end = settings.admin_listen.rfind(':');
  LogInfo("http on {}:{}", settings.admin_listen.substr(0, host_end), (*http)->port());
  LogInfo("trunks on {}", trunk_address.ToString());
  program.WaitForStop();
  stopping = true;
  loop.Stop();
  // First the controller, so that proxies send nothing new; then the streams that are left.
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
  Program program("trunkline-agent", "Reports a server's load and ends proxies' trunks beside it.");
  const auto read = [&] {
    settings = ReadAgentConfig(config);
    tls = LoadTrunkTls(config);
    return settings.ok() ? tls.status() : settings.status();
  };
  if (auto exit_code = program.Start(argc, argv, &config, read)) return *exit_code;
  return Run(program, *settings, *std::move(tls));
}
