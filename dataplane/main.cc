// trunkline-proxy: accepts clients, picks an endpoint for each, and forwards their bytes.
#include <memory>

#include "common/observe/admin_http.h"
#include "common/observe/log.h"
#include "common/observe/metrics_page.h"
#include "common/program/program.h"
#include "common/program/trunk_tls_config.h"
#include "dataplane/control/discovery_subscriber.h"
#include "dataplane/data_plane.h"
#include "dataplane/listen/handover.h"
#include "dataplane/memory/memory_meter.h"
#include "dataplane/proxy_metrics.h"
#include "dataplane/proxy_settings.h"
#include "trunkline/v1/config.pb.h"

namespace trunkline {
namespace {

int Run(Program& program, const v1::ProxyConfig& config, std::shared_ptr<const TrunkTls> tls) {
  absl::StatusOr<Inheritance> inheritance = Inheritance::Take(config.handover_socket());
  if (!inheritance.ok()) return program.Fail(std::string(inheritance.status().message()));

  const MemoryMeter memory =
      MemoryMeter::OfThisProcess(static_cast<int64_t>(config.memory_budget_bytes()));
  LogMemoryBudget(memory);
  DataPlane::Options options = ReadDataPlaneOptions(config, std::move(tls));
  TrafficStats stats(options.workers);
  options.memory_budget_bytes = memory.budget_bytes();
  options.memory = {.read = [&] { return memory.Read(stats.PipedBytes()); },
                    .give_back = GiveBackFreeMemory};
  DataPlane data_plane(options, stats, inheritance->TakeSockets());

  // Puts a saved snapshot into service before it returns, on inherited sockets if there are any.
  auto subscriber = std::make_unique<DiscoverySubscriber>(ReadSubscriberOptions(config), stats,
                                                          CallsOf(data_plane));
  if (!inheritance->empty() && !subscriber->AwaitReady()) {
    return program.Fail("no snapshot to serve: not taking over, the running proxy keeps serving");
  }
  inheritance->Confirm();

  MetricsPage metrics("trunkline-proxy");
  metrics.Register([&](MetricsWriter& writer) { CollectTraffic(stats, writer); });
  metrics.Register([&](MetricsWriter& writer) { subscriber->Collect(writer); });
  metrics.Register([&](MetricsWriter& writer) { data_plane.Collect(writer); });
  metrics.Register([&](MetricsWriter& writer) { CollectMemory(memory, stats, writer); });
  const auto not_ready = [&] { return NotReady(*subscriber, data_plane); };
  const auto notes = [&] { return subscriber->Faults(); };
  auto http = AdminHttp::Start(AdminListenOf(config), metrics, not_ready, notes);
  if (!http.ok()) return program.Fail(std::string(http.status().message()));
  LogInfo("http on {}", BoundText(AdminListenOf(config), (*http)->port()));
  LogInfo("proxy {} with {} workers", config.proxy_id(), options.workers);
  const auto offer = [&] { return data_plane.CopySockets(); };
  auto handover = HandoverServer::Start(config.handover_socket(), offer, Program::RequestStop);
  if (!handover.ok()) return program.Fail(std::string(handover.status().message()));
  program.WaitForStop();
  if ((*handover)->taken()) {
    // From here on the successor uses this proxy's name and admin port.
    (*http).reset();
    subscriber.reset();
    (*handover)->Release();
  }
  data_plane.Drain(DrainTimeoutOf(config));
  return 0;
}

}  // namespace
}  // namespace trunkline

int main(int argc, char** argv) {
  trunkline::Program program("trunkline-proxy",
                             "Balances client connections over the endpoints of services.");
  trunkline::v1::ProxyConfig config;
  std::shared_ptr<const trunkline::TrunkTls> tls;
  const auto check = [&] { return trunkline::CheckProxyConfig(config, &tls); };
  if (const auto exit_code = program.Start(argc, argv, &config, check)) return *exit_code;
  return trunkline::Run(program, config, std::move(tls));
}
