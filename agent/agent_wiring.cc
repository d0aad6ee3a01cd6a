#include "agent/agent_wiring.h"

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "agent/agent_settings.h"
#include "agent/proc/process_clock.h"
#include "agent/report/load_report_builder.h"
#include "agent/report/load_reporter.h"
#include "agent/report/sampling_loop.h"
#include "agent/sample/connect_probe.h"
#include "agent/sample/listener_finder.h"
#include "agent/sample/load_sample.h"
#include "agent/sample/load_sampler.h"
#include "agent/sample/local_service.h"
#include "agent/sample/port_watch.h"
#include "agent/sample/service_sampler.h"
#include "agent/sample/service_traffic.h"
#include "agent/sample/sock_diag_socket.h"
#include "agent/trunk/trunk_server.h"
#include "common/base/system_files.h"
#include "common/base/version.h"
#include "common/inband/inband_report.h"
#include "common/net/address.h"
#include "common/net/timer_wheel.h"
#include "common/resolver/name_resolver.h"
#include "common/trunk/trunk_tls.h"

namespace trunkline {
namespace {

// A local server that takes no connection for this long counts as down. The sampling thread waits
// for the probe.
constexpr absl::Duration kProbeTimeout = absl::Milliseconds(200);

// A balancing decision uses utilization that is at most 100 ms old: one fast sampling period, one
// gap between in-band load reports and one slot of the timer that sends them, plus 10 ms on the
// network.
constexpr int64_t kMaxUtilizationAgeMillis = 100;
constexpr int64_t kNetworkMillis = 10;
static_assert(SamplingLoop::kFastPeriod <=
              absl::Milliseconds(kMaxUtilizationAgeMillis - kNetworkMillis -
                                 kInbandReportGapMillis - TimerWheel::kSlotNanos / 1'000'000));

// Differs at every start.
std::string NewBootId() {
  std::random_device random;
  return absl::StrFormat("%08x%08x", random(), random());
}

auto LookupBy(NameResolver& names) {
  return [&names](const Address& address) { return names.Lookup(address); };
}

// The kernel names the process behind a unix socket; that of a TCP port is looked for in /proc.
std::function<absl::StatusOr<int>(int)> FindServer(const SystemFiles& files,
                                                   const LocalService& local,
                                                   std::shared_ptr<const ConnectProbe> probe,
                                                   NameResolver& names) {
  if (local.target.is_unix()) {
    return [probe = std::move(probe)](int running) { return probe->FindServer(running); };
  }
  const auto finder =
      std::make_shared<ListenerFinder>(files, ListenerFinder::Options{.target = local.target,
                                                                      .lookup = LookupBy(names),
                                                                      .dump = DumpListeners,
                                                                      .is_local = IsLocalAddress});
  return [finder](int running) { return finder->Find(running); };
}

ServiceSamplerOptions ServiceOptions(const SystemFiles& files, const LocalService& local,
                                     const PortWatch& ports, NameResolver& names) {
  const auto probe = std::make_shared<const ConnectProbe>(local.target, LookupBy(names));
  ServiceSamplerOptions options;
  options.local = local;
  options.local.cpu.ticks_per_second = static_cast<double>(sysconf(_SC_CLK_TCK));
  options.local.cpu.process_clock = ProcessCpuNanos;
  options.local.cpu.find_server = FindServer(files, local, probe, names);
  options.count_connections = [&ports](uint16_t port) { return ports.Latest(port); };
  options.count_error = [&ports] { return ports.Error(); };
  options.try_connect = [probe] { return probe->Try(kProbeTimeout); };
  return options;
}

}  // namespace

TrunkServer::Options TrunkOptions(const AgentSettings& settings,
                                  std::shared_ptr<const TrunkTls> tls, NameResolver& names) {
  return {.listen = settings.trunk_listen,
          .services = settings.services,
          .max_streams = settings.max_streams_per_trunk,
          .connect_timeout = settings.connect_timeout,
          .tls = std::move(tls),
          .lookup = LookupBy(names)};
}

std::vector<uint16_t> ServerPorts(const AgentSettings& settings) {
  std::vector<uint16_t> ports;
  for (const LocalService& local : settings.services) {
    if (local.port != 0) ports.push_back(local.port);
  }
  return ports;
}

uint64_t SmallestConnectionLimit(const AgentSettings& settings) {
  uint64_t smallest = 0;
  for (const LocalService& local : settings.services) {
    if (local.port == 0 || local.max_connections == 0) continue;
    if (smallest == 0 || local.max_connections < smallest) smallest = local.max_connections;
  }
  return smallest;
}

std::unique_ptr<NameResolver> ResolveTargets(const AgentSettings& settings) {
  auto names = std::make_unique<NameResolver>(NameResolver::Options{.program = "agent"});
  for (const LocalService& local : settings.services) names->Pin(local.target);
  return names;
}

LoadSamplerOptions SamplerOptions(const SystemFiles& files, const AgentSettings& settings,
                                  const PortWatch& ports, NameResolver& names) {
  LoadSamplerOptions options = {.nic = settings.nic,
                                .nic_bits_per_second = settings.nic_bits_per_second};
  for (const LocalService& local : settings.services) {
    options.services.push_back(ServiceOptions(files, local, ports, names));
  }
  return options;
}

LoadReporter::Options ReporterOptions(const AgentSettings& settings, int trunk_port,
                                      SamplingLoop& loop) {
  return {.controller = settings.controller,
          .identity = {.agent_id = settings.agent_id,
                       .boot_id = NewBootId(),
                       .version = kVersion,
                       .trunk_address = settings.trunk_advertise.empty()
                                            ? WithPort(settings.trunk_listen.ToString(), trunk_port)
                                            : settings.trunk_advertise},
          .on_directive = [&loop](const Directive& directive) {
            if (directive.report_interval.has_value()) loop.SetInterval(*directive.report_interval);
          }};
}

void SetUtilizations(const std::vector<LoadSample>& latest, TrafficTable& traffic) {
  for (size_t i = 0; i < latest.size(); ++i) {
    traffic.SetUtilization(
        i, latest[i].cpu_known ? std::optional<double>(latest[i].Utilization()) : std::nullopt);
  }
}

std::vector<std::string> FaultsOf(const SamplingLoop& loop, const LoadReporter& reporter) {
  std::vector<std::string> faults;
  const auto add = [&](const std::string& what, const std::string& error) {
    if (!error.empty()) faults.push_back(absl::StrCat(what, " is unknown: ", error));
  };
  const std::vector<LoadSample> samples = loop.Latest();
  if (!samples.empty()) add("network load", samples.front().network_error);
  for (const LoadSample& sample : samples) {
    const std::string service = absl::StrCat("service ", sample.service);
    add(absl::StrCat(service, ": CPU"), sample.cpu_error);
    add(absl::StrCat(service, ": memory"), sample.memory_error);
    add(absl::StrCat(service, ": the number of connections"), sample.connections_error);
  }
  if (std::string failure = reporter.status().failure; !failure.empty()) {
    faults.push_back(std::move(failure));
  }
  return faults;
}

}  // namespace trunkline
