// trunkline-proxy: accepts clients, picks an endpoint for each, and forwards their bytes.
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/observe/log.h"
#include "common/observe/metrics_page.h"
#include "common/program/program.h"
#include "common/trunk/trunk_tls.h"
#include "dataplane/data_plane.h"
#include "dataplane/exclusive_parts.h"
#include "dataplane/listen/handover.h"
#include "dataplane/listen/inheritance.h"
#include "dataplane/memory/memory_meter.h"
#include "dataplane/proxy_metrics.h"
#include "dataplane/proxy_settings.h"
#include "dataplane/stats/traffic_stats.h"
#include "trunkline/v1/config.pb.h"

namespace trunkline {
namespace {

int Run(Program& program, const v1::ProxyConfig& config, std::shared_ptr<const TrunkTls> tls) {
  absl::StatusOr<Inheritance> inheritance =
      Inheritance::Take(config.handover_socket(), config.proxy_id());
  if (!inheritance.ok()) return program.Fail(inheritance.status());
  const auto decline = [&](const absl::Status& why) {
    return program.Fail(inheritance->Decline(why));
  };
  // Everything that can fail comes before Confirm, because a predecessor serves until then.
  auto admin = OpenAdminSocket(config, inheritance->sockets());
  if (!admin.ok()) return decline(admin.status());
  auto successors = OpenHandoverSocket(config, *inheritance);
  if (!successors.ok()) return decline(successors.status());

  const MemoryMeter memory =
      MemoryMeter::OfThisProcess(static_cast<int64_t>(config.memory_budget_bytes()));
  LogMemoryBudget(memory);
  DataPlane::Options options = ReadDataPlaneOptions(config, std::move(tls));
  TrafficStats stats(options.workers);
  options.memory_budget_bytes = memory.budget_bytes();
  options.hold = !inheritance->empty();
  options.memory = {.read = [&] { return memory.Read(stats.PipedBytes()); },
                    .give_back = GiveBackFreeMemory};
  DataPlane data_plane(options, stats, std::move(inheritance->sockets().services));

  MetricsPage metrics("trunkline-proxy");
  ExclusiveParts parts(config, data_plane, stats, metrics, *std::move(admin));
  metrics.Register([&](MetricsWriter& writer) { CollectTraffic(stats, writer); });
  metrics.Register([&](MetricsWriter& writer) { parts.Collect(writer); });
  metrics.Register([&](MetricsWriter& writer) { data_plane.Collect(writer); });
  metrics.Register([&](MetricsWriter& writer) { CollectMemory(memory, stats, writer); });
  if (absl::Status taken = parts.TakeOver(*inheritance); !taken.ok()) return program.Fail(taken);
  if (absl::Status started = parts.Start(); !started.ok()) return program.Fail(started);
  LogInfo("proxy {} started with {} workers", config.proxy_id(), options.workers);

  std::optional<HandoverServer> handover(
      std::in_place, *std::move(successors), config.proxy_id(), inheritance->TakePeer(),
      HandoverServer::Calls{.offer = [&] { return parts.Offer(); },
                            .release = [&] { parts.Release(); },
                            .take_back = [&] { parts.TakeBack(); },
                            .stop = Program::RequestStop});
  program.WaitForStop();
  handover.reset();
  parts.Drain();
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
