#include "agent/agent_settings.h"

#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/sample/cpu_meter.h"
#include "agent/sample/local_service.h"
#include "common/config/config_rules.h"
#include "common/config/durations.h"
#include "common/config/proxy_version_wire.h"
#include "common/net/address.h"
#include "trunkline/v1/config.pb.h"

namespace trunkline {
namespace {

constexpr char kDefaultTrunkListen[] = "127.0.0.1:7073";

CpuChoice ToChoice(v1::CpuSource source) {
  switch (source) {
    case v1::CPU_SOURCE_CGROUP:
      return CpuChoice::kCgroup;
    case v1::CPU_SOURCE_PROCESSES:
      return CpuChoice::kProcesses;
    case v1::CPU_SOURCE_HOST:
      return CpuChoice::kHost;
    default:
      return CpuChoice::kAuto;
  }
}

// Converts a configuration that CheckConfig has accepted.
class Reader {
 public:
  explicit Reader(const v1::AgentConfig& config) : config_(config) {}

  AgentSettings Read() {
    settings_.agent_id = config_.agent_id();
    settings_.controller = config_.controller();
    ReadAddresses();
    ReadLimits();
    for (int i = 0; i < config_.services_size(); ++i) ReadService(i);
    return std::move(settings_);
  }

 private:
  void ReadAddresses() {
    const bool given = !config_.trunk_listen().empty();
    settings_.trunk_listen = *ParseAddress(given ? config_.trunk_listen() : kDefaultTrunkListen);
    if (!config_.admin_listen().empty()) settings_.admin_listen = config_.admin_listen();
    settings_.trunk_advertise = config_.trunk_advertise();
  }

  void ReadLimits() {
    if (config_.workers() > 0) settings_.workers = config_.workers();
    if (config_.max_streams_per_trunk() > 0) {
      settings_.max_streams_per_trunk = config_.max_streams_per_trunk();
    }
    settings_.nic = config_.nic();
    settings_.nic_bits_per_second = config_.nic_bits_per_second();
    if (config_.has_drain_timeout())
      settings_.drain_timeout = ReadDuration(config_.drain_timeout());
    if (config_.has_connect_timeout()) {
      settings_.connect_timeout = ReadDuration(config_.connect_timeout());
    }
  }

  void ReadService(int index) {
    const v1::AgentServiceConfig& config = config_.services(index);
    LocalService service;
    service.name = config.service();
    service.endpoint_id = config.endpoint_id().empty() ? config_.agent_id() : config.endpoint_id();
    service.target = *ParseAddress(config.target());
    service.port = static_cast<uint16_t>(config.observe_port());
    if (service.port == 0 && !service.target.is_unix()) service.port = service.target.port;
    service.capacity_hint = config.capacity_hint();
    service.server_address = ServerAddress(config, service.target);
    service.max_connections = config.max_connections();
    // The field rules have accepted the enum's name, so it has a version.
    service.proxy_protocol = *ReadProxyVersion(config.send_proxy_protocol());
    ReadCpu(config, service);
    settings_.services.push_back(std::move(service));
  }

  // A loopback target is advertised as well: it is right for a proxy on the same machine, and only
  // the operator knows where the proxies are. A wildcard would be another server for each proxy.
  static std::string ServerAddress(const v1::AgentServiceConfig& config, const Address& target) {
    if (!config.server_advertise().empty()) return config.server_advertise();
    return target.is_unix() || IsWildcardHost(target.host) ? "" : target.ToString();
  }

  void ReadCpu(const v1::AgentServiceConfig& config, LocalService& service) {
    CpuMeterOptions& cpu = service.cpu;
    cpu.choice = ToChoice(config.cpu_source());
    if (!config_.cgroup_root().empty()) cpu.cgroup_root = config_.cgroup_root();
    cpu.cgroup_path = config.cgroup_path();
    cpu.pid_file = config.pid_file();
    cpu.pid = static_cast<int>(config.pid());
    cpu.limit_cores = config.cpu_limit_cores();
  }

  const v1::AgentConfig& config_;
  AgentSettings settings_;
};

}  // namespace

absl::StatusOr<AgentSettings> ReadAgentConfig(const v1::AgentConfig& config) {
  if (absl::Status checked = CheckConfig(config); !checked.ok()) return checked;
  return Reader(config).Read();
}

}  // namespace trunkline
