// trunkline-proxy: listens, picks an endpoint, multiplexes.
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/observe/admin_http.h"
#include "common/observe/log.h"
#include "common/observe/metrics_page.h"
#include "common/program/program.h"
#include "common/program/trunk_tls_config.h"
#include "dataplane/control/discovery_subscriber.h"
#include "dataplane/data_plane.h"
#include "dataplane/limits/descriptor_plan.h"
#include "dataplane/listen/handover.h"
#include "dataplane/memory/memory_meter.h"
#include "dataplane/proxy_metrics.h"
#include "trunkline/v1/config.pb.h"

namespace trunkline {
namespace {

constexpr char kDefaultAdminListen[] = "127.0.0.1:7072";
constexpr size_t kDefaultMaxClients = 50'000;
// More than any kernel gives; what RLIM_INFINITY stands for.
constexpr rlim_t kMostDescriptors = rlim_t{1} << 30;
// How long a predecessor may take to give up its HTTP port.
constexpr absl::Duration kPortPatience = absl::Seconds(10);
// A successor whose saved snapshot is of no use asks the controller for this long.
constexpr absl::Duration kReadyPatience = absl::Seconds(30);
constexpr absl::Duration kPoll = absl::Milliseconds(20);

absl::Duration Or(const google::protobuf::Duration& value, bool present, absl::Duration otherwise) {
  if (!present) return otherwise;
  return absl::Seconds(value.seconds()) + absl::Nanoseconds(value.nanos());
}

size_t WorkerCount(const v1::ProxyConfig& config) {
  if (config.workers() > 0) return config.workers();
  return std::max(1u, std::thread::hardware_concurrency());
}

// Never more than there are descriptors for.
void LimitClients(const v1::ProxyConfig& config, DataPlane::Options& options) {
  options.max_clients = config.max_clients() > 0 ? config.max_clients() : kDefaultMaxClients;
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const size_t descriptors = std::min(limit.rlim_cur, kMostDescriptors);
  options.descriptors = DescriptorPlan::For(descriptors, options.workers);
  if (options.max_clients > options.descriptors.sockets) {
    LogWarn("room for {} clients, half as many in direct mode: the limit of open files is {}",
            options.descriptors.sockets, descriptors);
  }
}

DataPlane::Options DataPlaneOptions(const v1::ProxyConfig& config,
                                    std::shared_ptr<const TrunkTls> tls) {
  DataPlane::Options options;
  options.workers = WorkerCount(config);
  LimitClients(config, options);
  options.bind_address = config.bind_address();
  options.max_coalescing_delay =
      Or(config.max_coalescing_delay(), config.has_max_coalescing_delay(),
         options.max_coalescing_delay);
  options.random_seed = std::random_device{}();
  TrunkPool::Options& trunks = options.trunks;
  trunks.tls = std::move(tls);
  if (config.max_streams_per_trunk() > 0) {
    trunks.max_streams_per_trunk = config.max_streams_per_trunk();
  }
  if (config.max_trunks_per_endpoint() > 0) trunks.max_trunks = config.max_trunks_per_endpoint();
  trunks.ping_after = Or(config.ping_after(), config.has_ping_after(), trunks.ping_after);
  trunks.max_age = Or(config.trunk_max_age(), config.has_trunk_max_age(), trunks.max_age);
  trunks.ping_timeout = Or(config.ping_timeout(), config.has_ping_timeout(), trunks.ping_timeout);
  return options;
}

void TellBudget(const MemoryMeter& memory) {
  constexpr int64_t kMebibyte = int64_t{1} << 20;
  const std::string group =
      memory.group_limit_bytes() > 0
          ? absl::StrCat(", control group limit ", memory.group_limit_bytes() / kMebibyte, " MiB")
          : "";
  LogInfo("memory budget {} MiB{}", memory.budget_bytes() / kMebibyte, group);
  const std::optional<MemoryReading> now = memory.Read(0);
  if (now && now->fullness() > MemoryLevel::kGrowthStops / 2) {
    LogWarn("{} MiB of {} MiB of memory are used before the first client: there is room for few",
            now->used_bytes / kMebibyte, now->budget_bytes / kMebibyte);
  }
}

// Empty: ready.
std::string NotReady(const DiscoverySubscriber& subscriber, const DataPlane& data_plane,
                     const TrafficStats& stats) {
  std::string why = subscriber.NotReady();
  if (why.empty()) why = data_plane.MissingListeners();
  if (!why.empty()) return why;
  for (const WorkerStats& worker : stats.workers()) {
    if (worker.memory_full.Value() > 0) return "memory is full: new clients wait";
  }
  return "";
}

// The address that was asked for, with the port that it got.
std::string BoundText(const std::string& listen, int port) {
  Address address = *ParseAddress(listen);
  address.port = static_cast<uint16_t>(port);
  return address.ToString();
}

// A predecessor gives its port up when it has heard that we serve.
absl::StatusOr<std::unique_ptr<AdminHttp>> StartHttp(const std::string& listen,
                                                     const MetricsPage& metrics,
                                                     const AdminHttp::Readiness& readiness,
                                                     bool has_predecessor) {
  const MonotonicTime deadline =
      MonotonicNow() + (has_predecessor ? kPortPatience : absl::ZeroDuration());
  while (true) {
    auto http = AdminHttp::Start(listen, metrics, readiness);
    if (http.ok() || MonotonicNow() >= deadline) return http;
    std::this_thread::sleep_for(absl::ToChronoMilliseconds(kPoll));
  }
}

bool BecomesReady(const DiscoverySubscriber& subscriber) {
  const MonotonicTime deadline = MonotonicNow() + kReadyPatience;
  while (!subscriber.NotReady().empty() && MonotonicNow() < deadline) {
    std::this_thread::sleep_for(absl::ToChronoMilliseconds(kPoll));
  }
  return subscriber.NotReady().empty();
}

absl::StatusOr<Inheritance> TakeOver(const v1::ProxyConfig& config) {
  if (config.handover_socket().empty()) return Inheritance();
  return Inheritance::Take(config.handover_socket());
}

int Run(Program& program, const v1::ProxyConfig& config, std::shared_ptr<const TrunkTls> tls) {
  absl::StatusOr<Inheritance> inheritance = TakeOver(config);
  if (!inheritance.ok()) return program.Fail(std::string(inheritance.status().message()));
  const bool has_predecessor = !inheritance->empty();
  const MemoryMeter memory =
      MemoryMeter::OfThisProcess(static_cast<int64_t>(config.memory_budget_bytes()));
  TellBudget(memory);
  DataPlane::Options options = DataPlaneOptions(config, std::move(tls));
  TrafficStats stats(options.workers);
  options.memory = {.read = [&] { return memory.Read(stats.PipedBytes()); },
                    .give_back = GiveBackFreeMemory};
  options.memory_budget_bytes = memory.budget_bytes();
  DataPlane data_plane(options, stats, inheritance->TakeSockets());
  // The saved snapshot is in service when this is there: on inherited sockets, if any.
  auto subscriber = std::make_unique<DiscoverySubscriber>(
      DiscoverySubscriber::Options{.proxy_id = config.proxy_id(),
                                   .controller = config.controller(),
                                   .snapshot_file = config.snapshot_file()},
      stats,
      DiscoverySubscriber::DataPlaneCalls{
          .apply = [&](const auto& table) { data_plane.Apply(table); },
          .retry_listeners =
              [&] {
                data_plane.RetryListeners();
                return data_plane.MissingListeners();
              }});
  if (has_predecessor && !BecomesReady(*subscriber)) {
    return program.Fail("no snapshot to serve; the running proxy goes on");
  }
  inheritance->Confirm();

  MetricsPage metrics("trunkline-proxy");
  metrics.Register([&](MetricsWriter& writer) { CollectTraffic(stats, writer); });
  metrics.Register([&](MetricsWriter& writer) { subscriber->Collect(writer); });
  metrics.Register([&](MetricsWriter& writer) { data_plane.Collect(writer); });
  metrics.Register([&](MetricsWriter& writer) { CollectMemory(memory, stats, writer); });
  const std::string admin =
      config.admin_listen().empty() ? kDefaultAdminListen : config.admin_listen();
  auto http = StartHttp(
      admin, metrics, [&] { return NotReady(*subscriber, data_plane, stats); }, has_predecessor);
  if (!http.ok()) return program.Fail(std::string(http.status().message()));
  LogInfo("http on {}", BoundText(admin, (*http)->port()));
  LogInfo("proxy {} with {} workers", config.proxy_id(), options.workers);

  std::atomic<bool> replaced = false;
  std::unique_ptr<HandoverServer> handover;
  if (!config.handover_socket().empty()) {
    auto server = HandoverServer::Start(
        config.handover_socket(), [&] { return data_plane.CopySockets(); },
        [&] {
          replaced = true;
          Program::RequestStop();
        });
    if (!server.ok()) return program.Fail(std::string(server.status().message()));
    handover = *std::move(server);
  }

  program.WaitForStop();
  if (replaced) {
    // What has one name in the cluster is the successor's from here on.
    (*http).reset();
    subscriber.reset();
  }
  data_plane.Drain(Or(config.drain_timeout(), config.has_drain_timeout(), absl::Seconds(10)));
  return 0;
}

}  // namespace
}  // namespace trunkline

int main(int argc, char** argv) {
  trunkline::Program program("trunkline-proxy",
                             "Carries client connections to a service's endpoints over trunks.");
  trunkline::v1::ProxyConfig config;
  absl::StatusOr<std::shared_ptr<const trunkline::TrunkTls>> tls =
      absl::UnknownError("not read yet");
  const auto check = [&]() -> absl::Status {
    tls = trunkline::LoadTrunkTls(config);
    if (!tls.ok()) return tls.status();
    if (config.handover_socket().empty() || !config.snapshot_file().empty()) {
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(
        "handover_socket: expected with snapshot_file, from which a successor serves at once");
  };
  if (const auto exit_code = program.Start(argc, argv, &config, check)) return *exit_code;
  return trunkline::Run(program, config, *std::move(tls));
}
