#include "agent/agent_settings.h"

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/config/durations.h"
#include "common/config/names.h"
#include "common/config/proxy_version_wire.h"

namespace trunkline {
namespace {

constexpr char kDefaultTrunkListen[] = "127.0.0.1:7073";
// The controller's limit of services for one agent.
constexpr int kMaxServices = 64;

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

bool IsWildcard(const Address& address) {
  return address.host.empty() || address.host == "0.0.0.0" || address.host == "::";
}

class Reader {
 public:
  explicit Reader(const v1::AgentConfig& config) : config_(config) {}

  absl::StatusOr<AgentSettings> Read() {
    settings_.agent_id = config_.agent_id();
    CheckName("agent_id", config_.agent_id());
    settings_.controller = config_.controller();
    ReadAddresses();
    ReadLimits();
    if (config_.services_size() == 0 || config_.services_size() > kMaxServices) {
      errors_.push_back(absl::StrCat("services: expected 1 to ", kMaxServices, ", got ",
                                     config_.services_size()));
    }
    for (int i = 0; i < config_.services_size(); ++i) ReadService(i);
    if (!errors_.empty()) return absl::InvalidArgumentError(absl::StrJoin(errors_, "\n"));
    return std::move(settings_);
  }

 private:
  void CheckName(const std::string& field, const std::string& name) {
    const absl::Status checked = trunkline::CheckName(field, name);
    if (!checked.ok()) errors_.emplace_back(checked.message());
  }

  Address ReadAddress(const std::string& field, const std::string& text, bool unix_allowed) {
    absl::StatusOr<Address> address = ParseAddress(text);
    if (!address.ok() || (address->is_unix() && !unix_allowed)) {
      errors_.push_back(absl::StrCat(field, ": expected ",
                                     unix_allowed ? "host:port or unix:/path" : "host:port",
                                     "; got \"", text, "\""));
      return Address();
    }
    return *std::move(address);
  }

  void ReadAddresses() {
    const bool given = !config_.trunk_listen().empty();
    settings_.trunk_listen =
        ReadAddress("trunk_listen", given ? config_.trunk_listen() : kDefaultTrunkListen, false);
    ReadAddress("controller", config_.controller(), false);
    if (!config_.admin_listen().empty()) settings_.admin_listen = config_.admin_listen();
    settings_.trunk_advertise = config_.trunk_advertise();
    if (settings_.trunk_advertise.empty()) {
      if (given && IsWildcard(settings_.trunk_listen)) {
        errors_.push_back(absl::StrCat(
            "trunk_advertise: expected the host:port at which proxies reach ",
            "this agent, since trunk_listen is the wildcard address ", config_.trunk_listen()));
      }
      return;
    }
    ReadAddress("trunk_advertise", settings_.trunk_advertise, false);
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
    const std::string where = absl::StrCat("services[", index, "]");
    LocalService service;
    service.name = config.service();
    service.endpoint_id = config.endpoint_id().empty() ? config_.agent_id() : config.endpoint_id();
    CheckName(where + ".service", service.name);
    CheckName(where + ".endpoint_id", service.endpoint_id);
    if (!names_.insert(service.name).second) {
      errors_.push_back(absl::StrCat(where, ".service: expected a unique name; an earlier service ",
                                     "is also called \"", service.name, "\""));
    }
    service.target = ReadAddress(where + ".target", config.target(), true);
    service.port = static_cast<uint16_t>(config.observe_port());
    if (service.port == 0 && !service.target.is_unix()) service.port = service.target.port;
    service.capacity_hint = config.capacity_hint();
    service.server_address = ServerAddress(config, where, service.target);
    service.max_connections = config.max_connections();
    // The field rules have accepted the enum's name, so it has a version.
    service.proxy_protocol = *ReadProxyVersion(config.send_proxy_protocol());
    ReadCpu(config, where, service);
    settings_.services.push_back(std::move(service));
  }

  // A loopback target is advertised as well: it is right for a proxy on the same machine, and only
  // the operator knows where the proxies are.
  std::string ServerAddress(const v1::AgentServiceConfig& config, const std::string& where,
                            const Address& target) {
    if (config.server_advertise().empty()) return target.is_unix() ? "" : target.ToString();
    ReadAddress(where + ".server_advertise", config.server_advertise(), false);
    return config.server_advertise();
  }

  void ReadCpu(const v1::AgentServiceConfig& config, const std::string& where,
               LocalService& service) {
    CpuMeterOptions& cpu = service.cpu;
    cpu.choice = ToChoice(config.cpu_source());
    if (!config_.cgroup_root().empty()) cpu.cgroup_root = config_.cgroup_root();
    cpu.cgroup_path = config.cgroup_path();
    cpu.pid_file = config.pid_file();
    cpu.pid = static_cast<int>(config.pid());
    cpu.limit_cores = config.cpu_limit_cores();
    const bool named = cpu.pid > 0 || !cpu.pid_file.empty();
    if (cpu.pid > 0 && !cpu.pid_file.empty()) {
      errors_.push_back(where + ".pid: expected pid or pid_file; got both");
    }
    if (cpu.choice == CpuChoice::kProcesses && !named && !service.target.is_unix()) {
      errors_.push_back(where + ".cpu_source: processes with a TCP target needs pid or pid_file");
    }
  }

  const v1::AgentConfig& config_;
  AgentSettings settings_;
  std::set<std::string> names_;
  std::vector<std::string> errors_;
};

}  // namespace

absl::StatusOr<AgentSettings> ReadAgentConfig(const v1::AgentConfig& config) {
  return Reader(config).Read();
}

}  // namespace trunkline
