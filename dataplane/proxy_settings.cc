#include "dataplane/proxy_settings.h"

#include <google/protobuf/descriptor.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/absl_view.h"
#include "common/config/config_rules.h"
#include "common/config/config_values.h"
#include "common/config/durations.h"
#include "common/net/socket.h"
#include "common/observe/log.h"
#include "common/program/trunk_tls_config.h"
#include "common/trunk/trunk_tls.h"
#include "dataplane/control/discovery_subscriber.h"
#include "dataplane/data_plane.h"
#include "dataplane/limits/descriptor_plan.h"
#include "dataplane/listen/handover_wire.h"
#include "dataplane/log/connection_log.h"
#include "dataplane/log/connection_log_line.h"
#include "dataplane/tunnel/trunk_pool.h"
#include "trunkline/v1/config.pb.h"

namespace trunkline {
namespace {

constexpr char kDefaultAdminListen[] = "127.0.0.1:7072";
constexpr absl::Duration kDefaultDrainTimeout = absl::Seconds(10);
constexpr size_t kDefaultMaxClients = 50'000;
// At 1000 streams each, more than the default of clients: one agent can carry them all.
constexpr uint32_t kMaxTrunksWhenFull = 64;
// Stands for RLIM_INFINITY; more than any kernel allows.
constexpr rlim_t kMostDescriptors = rlim_t{1} << 30;

absl::Duration Or(const google::protobuf::Duration& value, bool present, absl::Duration otherwise) {
  if (!present) return otherwise;
  return ReadDuration(value);
}

size_t WorkerCount(const v1::ProxyConfig& config) {
  if (config.workers() > 0) return config.workers();
  return std::max(1u, std::thread::hardware_concurrency());
}

// Computes the limit of open files and warns if it allows fewer clients than the configuration.
void LimitClients(const v1::ProxyConfig& config, DataPlane::Options& options) {
  options.max_clients = config.max_clients() > 0 ? config.max_clients() : kDefaultMaxClients;
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const size_t descriptors = std::min(limit.rlim_cur, kMostDescriptors);
  options.descriptors = DescriptorPlan::For(descriptors, options.workers);
  if (options.max_clients > options.descriptors.sockets) {
    LogWarn(
        "the limit of {} open files allows {} clients, half as many in direct mode, but "
        "max_clients is {}: raise it",
        descriptors, options.descriptors.sockets, options.max_clients);
  }
}

void ReadTrunkOptions(const v1::ProxyConfig& config, TrunkPool::Options& trunks) {
  if (config.max_streams_per_trunk() > 0) {
    trunks.max_streams_per_trunk = config.max_streams_per_trunk();
  }
  trunks.max_trunks_when_full = kMaxTrunksWhenFull;
  if (config.max_trunks_per_endpoint() > 0) {
    trunks.max_trunks = trunks.max_trunks_when_full = config.max_trunks_per_endpoint();
  }
  trunks.ping_after = Or(config.ping_after(), config.has_ping_after(), trunks.ping_after);
  trunks.ping_timeout = Or(config.ping_timeout(), config.has_ping_timeout(), trunks.ping_timeout);
  trunks.max_age = Or(config.trunk_max_age(), config.has_trunk_max_age(), trunks.max_age);
}

Keepalive ReadKeepalive(const v1::TcpKeepalive& config) {
  Keepalive keepalive;
  keepalive.idle = Or(config.idle(), config.has_idle(), keepalive.idle);
  keepalive.interval = Or(config.interval(), config.has_interval(), keepalive.interval);
  if (config.has_count()) keepalive.count = static_cast<int>(config.count());
  return keepalive;
}

// Returns null if the configuration has none.
std::shared_ptr<ConnectionLog> StartConnectionLog(const v1::ProxyConfig& config) {
  if (!config.has_connection_log()) return nullptr;
  int fd = STDERR_FILENO;
  if (const std::string& path = config.connection_log().file(); !path.empty()) {
    const absl::StatusOr<int> opened = OpenConnectionLog(path);
    if (!opened.ok()) {
      // The check of the configuration could open it.
      LogError("{}; connections are not logged", StdView(opened.status().message()));
      return nullptr;
    }
    fd = *opened;
  }
  return std::make_shared<ConnectionLog>(fd, ReadConnectionLogOptions(config));
}

}  // namespace

absl::Status CheckProxyConfig(const v1::ProxyConfig& config, std::shared_ptr<const TrunkTls>* tls) {
  if (absl::Status checked = CheckConfig(config); !checked.ok()) return checked;
  if (absl::Status path = CheckHandoverPath(config.handover_socket()); !path.ok()) return path;
  if (const std::string& path = config.connection_log().file(); !path.empty()) {
    if (absl::Status checked = CheckConnectionLog(path); !checked.ok()) return checked;
  }
  absl::StatusOr<std::shared_ptr<const TrunkTls>> loaded = LoadTrunkTls(config);
  if (!loaded.ok()) return loaded.status();
  *tls = *std::move(loaded);
  return absl::OkStatus();
}

ConnectionLog::Options ReadConnectionLogOptions(const v1::ProxyConfig& proxy) {
  const v1::ConnectionLogConfig& config = proxy.connection_log();
  ConnectionLog::Options options = {.proxy_id = proxy.proxy_id()};
  if (config.format() == v1::LogConfig::FORMAT_JSON) options.format = LogFormat::kJson;
  if (config.fields_size() > 0) options.fields.clear();
  for (const int field : config.fields()) {
    const auto* const value = v1::ConnectionLogConfig::Field_descriptor()->FindValueByNumber(field);
    options.fields.push_back(FindLogField(ShortName(*value)).value());
  }
  if (config.has_sample()) options.sample = config.sample();
  if (config.has_errors()) options.errors = config.errors();
  options.requests = config.requests();
  options.services.assign(config.services().begin(), config.services().end());
  return options;
}

DataPlane::Options ReadDataPlaneOptions(const v1::ProxyConfig& config,
                                        std::shared_ptr<const TrunkTls> tls) {
  DataPlane::Options options;
  options.workers = WorkerCount(config);
  LimitClients(config, options);
  if (const std::string& host = config.bind_address(); !host.empty()) {
    options.bind_address = ReadBindHost("bind_address", host).value();  // CheckConfig accepted it
  }
  options.max_coalescing_delay =
      Or(config.max_coalescing_delay(), config.has_max_coalescing_delay(),
         options.max_coalescing_delay);
  options.keepalive = ReadKeepalive(config.tcp_keepalive());
  options.random_seed = std::random_device{}();
  options.trunks.tls = std::move(tls);
  ReadTrunkOptions(config, options.trunks);
  options.connection_log = StartConnectionLog(config);
  return options;
}

DiscoverySubscriber::Options ReadSubscriberOptions(const v1::ProxyConfig& config) {
  return {.proxy_id = config.proxy_id(),
          .controller = config.controller(),
          .snapshot_file = config.snapshot_file()};
}

DiscoverySubscriber::DataPlaneCalls CallsOf(DataPlane& data_plane) {
  return {.apply = [&](const auto& table) { data_plane.Apply(table); },
          .retry_listeners =
              [&] {
                data_plane.RetryListeners();
                return data_plane.MissingListeners();
              }};
}

std::string NotReady(const DiscoverySubscriber& subscriber, const DataPlane& data_plane) {
  const std::string reason = subscriber.NotReady();
  return reason.empty() ? data_plane.NotReady() : reason;
}

std::vector<std::string> Notes(const DiscoverySubscriber& subscriber, const DataPlane& data_plane) {
  std::vector<std::string> notes = subscriber.Faults();
  for (std::string& fault : data_plane.Faults()) notes.push_back(std::move(fault));
  return notes;
}

std::string AdminListenOf(const v1::ProxyConfig& config) {
  return config.admin_listen().empty() ? kDefaultAdminListen : config.admin_listen();
}

absl::Duration DrainTimeoutOf(const v1::ProxyConfig& config) {
  return Or(config.drain_timeout(), config.has_drain_timeout(), kDefaultDrainTimeout);
}

}  // namespace trunkline
