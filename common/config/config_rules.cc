#include "common/config/config_rules.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/absl_view.h"
#include "common/base/limits.h"
#include "common/config/config_values.h"
#include "common/config/health_check_options.h"
#include "common/config/message_options.h"
#include "common/config/names.h"
#include "common/config/proxy_version_wire.h"
#include "common/net/address.h"
#include "common/net/ip_port.h"
#include "common/net/listen_addresses.h"
#include "common/proxy_protocol/proxy_version.h"
#include "trunkline/v1/config.pb.h"
#include "trunkline/v1/service.pb.h"

namespace trunkline {
namespace {

// Errors show this much of a value.
constexpr size_t kMaxShownText = 128;

absl::Status Unexpected(std::string_view field, absl::string_view expected, std::string_view got) {
  return absl::InvalidArgumentError(
      absl::StrCat(AbslView(field), ": expected ", expected, "; got \"",
                   absl::CEscape(AbslView(got.substr(0, kMaxShownText))), "\""));
}

// Collects the errors of one file.
class Errors {
 public:
  void Add(const absl::Status& checked) {
    if (!checked.ok()) list_.emplace_back(checked.message());
  }
  void Add(std::string error) { list_.push_back(std::move(error)); }
  // An empty address means the default.
  void CheckListen(std::string_view field, std::string_view text) {
    if (!text.empty()) Add(CheckListenAddress(field, text));
  }
  void CheckReachable(std::string_view field, std::string_view text) {
    if (!text.empty()) Add(CheckReachableAddress(field, text));
  }
  std::vector<std::string> Take() { return std::move(list_); }

 private:
  std::vector<std::string> list_;
};

using TextList = google::protobuf::RepeatedPtrField<std::string>;

// The only element may have been written without a list.
std::string ElementOf(const std::string& field, const TextList& list, int index) {
  return list.size() == 1 ? field : absl::StrCat(field, "[", index, "]");
}

// The address of another program on any machine, this one included; a wildcard stands for this one.
absl::Status CheckPeerAddress(std::string_view field, std::string_view text) {
  const absl::StatusOr<Address> address = ParseAddress(text);
  if (address.ok() && !address->is_unix() && address->port != 0) return absl::OkStatus();
  return Unexpected(field, "host:port", text);
}

absl::Status CheckMode(const v1::ServiceConfig& service) {
  if (service.mode() == v1::FORWARDING_MODE_MESSAGE) {
    // A header names one client for a whole connection, but a shared connection carries requests of
    // many. Exclusive connections get none either, because a server expects headers on all
    // connections or on none.
    if (ReadProxyVersion(service.send_proxy_protocol()) != ProxyVersion::kNone) {
      return absl::InvalidArgumentError(
          "send_proxy_protocol: expected only with mode: tunnel or mode: direct, because in mode: "
          "message clients share the server's connections; remove it or change the mode");
    }
    return CheckMessageOptions(service.message());
  }
  if (!service.has_message()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "message: expected only with mode: message; remove it or change the mode");
}

// Adds the service's addresses to `listens`.
void CheckListens(const v1::ServiceConfig& service, const std::string& field,
                  ListenAddresses* listens, Errors* errors) {
  std::vector<std::string> found = FindListenErrors(field, service.listen());
  for (std::string& error : found) errors->Add(std::move(error));
  if (!found.empty()) return;
  for (int i = 0; i < service.listen_size(); ++i) {
    const std::string why = listens->Add(service.name(), *ParseAddress(service.listen(i)));
    if (why.empty()) continue;
    errors->Add(absl::StrCat(ElementOf(field, service.listen(), i),
                             ": expected an address of its own; ", why));
  }
}

void CheckEndpoints(const v1::ServiceConfig& service, const std::string& service_path,
                    Errors* errors) {
  std::set<std::string> ids;
  for (int i = 0; i < service.endpoints_size(); ++i) {
    const v1::EndpointHint& endpoint = service.endpoints(i);
    const std::string where = absl::StrCat(service_path, ".endpoints[", i, "]");
    errors->Add(CheckName(where + ".endpoint_id", endpoint.endpoint_id()));
    errors->CheckReachable(where + ".address", endpoint.address());
    if (ids.insert(endpoint.endpoint_id()).second) continue;
    errors->Add(absl::StrCat(where,
                             ".endpoint_id: expected a unique id; an earlier endpoint is also \"",
                             endpoint.endpoint_id(), "\""));
  }
}

void CheckAgentAddresses(const v1::AgentConfig& config, Errors* errors) {
  errors->CheckListen("trunk_listen", config.trunk_listen());
  errors->CheckListen("admin_listen", config.admin_listen());
  errors->Add(CheckPeerAddress("controller", config.controller()));
  errors->CheckReachable("trunk_advertise", config.trunk_advertise());
  if (config.trunk_listen().empty() || !config.trunk_advertise().empty()) return;
  const absl::StatusOr<Address> listen = ParseAddress(config.trunk_listen());
  if (!listen.ok() || listen->is_unix() || !IsWildcardHost(listen->host)) return;
  errors->Add(
      absl::StrCat("trunk_advertise: expected the host:port at which proxies reach this agent, "
                   "since trunk_listen is the wildcard address ",
                   config.trunk_listen()));
}

void CheckCpu(const v1::AgentServiceConfig& service, const std::string& where, Errors* errors) {
  if (service.pid() > 0 && !service.pid_file().empty()) {
    errors->Add(where + ".pid: expected pid or pid_file; got both");
  }
}

void CheckAgentService(const v1::AgentConfig& config, int index, std::set<std::string>* names,
                       Errors* errors) {
  const v1::AgentServiceConfig& service = config.services(index);
  const std::string where = absl::StrCat("services[", index, "]");
  const std::string& id = service.endpoint_id().empty() ? config.agent_id() : service.endpoint_id();
  errors->Add(CheckName(where + ".service", service.service()));
  errors->Add(CheckName(where + ".endpoint_id", id));
  if (!names->insert(service.service()).second) {
    errors->Add(absl::StrCat(where, ".service: expected a unique name; an earlier service is also ",
                             "called \"", service.service(), "\""));
  }
  if (!ParseAddress(service.target()).ok()) {
    errors->Add(Unexpected(where + ".target", "host:port or unix:/path", service.target()));
  }
  errors->CheckReachable(where + ".server_advertise", service.server_advertise());
  CheckCpu(service, where, errors);
}

void CheckConnectionLog(const v1::ConnectionLogConfig& log, Errors* errors) {
  for (int i = 0; i < log.services_size(); ++i) {
    errors->Add(CheckName(absl::StrCat("connection_log.services[", i, "]"), log.services(i)));
  }
  std::set<int> fields;
  for (int i = 0; i < log.fields_size(); ++i) {
    if (fields.insert(log.fields(i)).second) continue;
    const auto* const type = v1::ConnectionLogConfig::Field_descriptor();
    errors->Add(absl::StrCat("connection_log.fields[", i, "]: expected each field once; got \"",
                             ShortName(*type->FindValueByNumber(log.fields(i))), "\" twice"));
  }
}

}  // namespace

bool IsWildcardHost(std::string_view host) {
  const auto family = host.find(':') == host.npos ? IpPort::Family::kIpv4 : IpPort::Family::kIpv6;
  IpPort parsed;
  if (!ParseIp(host, family, &parsed)) return host.empty();
  const auto& ip = parsed.Unmapped().ip;
  return std::all_of(ip.begin(), ip.end(), [](uint8_t byte) { return byte == 0; });
}

absl::Status CheckListenAddress(std::string_view field, std::string_view text) {
  const absl::StatusOr<Address> address = ParseAddress(text);
  if (!address.ok() || address->is_unix()) return Unexpected(field, "host:port", text);
  if (!IsHostName(*address)) return absl::OkStatus();
  return Unexpected(field,
                    "an IP address and a port, such as 0.0.0.0:9000 or [::1]:9000, because a name "
                    "may stand for several addresses",
                    text);
}

absl::StatusOr<std::string> ReadBindHost(std::string_view field, std::string_view text) {
  const bool bare_ipv6 = text.find(':') != text.npos && !text.starts_with('[');
  const absl::StatusOr<Address> address = ParseAddress(
      bare_ipv6 ? absl::StrCat("[", AbslView(text), "]:0") : absl::StrCat(AbslView(text), ":0"));
  if (address.ok() && !IsHostName(*address)) return address->host;
  return Unexpected(field, "an IP address without a port, such as 10.0.0.1 or ::1", text);
}

std::vector<std::string> FindListenErrors(const std::string& field, const TextList& listen) {
  if (listen.empty() || static_cast<size_t>(listen.size()) > kMaxServiceListens) {
    return {absl::StrCat(field, ": expected 1 to ", kMaxServiceListens, " addresses; got ",
                         listen.size())};
  }
  Errors errors;
  for (int i = 0; i < listen.size(); ++i) {
    errors.Add(CheckListenAddress(ElementOf(field, listen, i), listen[i]));
  }
  return errors.Take();
}

absl::Status CheckReachableAddress(std::string_view field, std::string_view text) {
  const absl::StatusOr<Address> address = ParseAddress(text);
  if (!address.ok() || address->is_unix()) return Unexpected(field, "host:port", text);
  if (IsWildcardHost(address->host)) {
    return Unexpected(field, "the host:port that proxies connect to, not a wildcard address", text);
  }
  if (address->port != 0) return absl::OkStatus();
  return Unexpected(field, "the host:port that proxies connect to, with a port above 0", text);
}

std::vector<std::string> FindErrors(const v1::ControllerConfig& config) {
  Errors errors;
  if (!config.cluster_id().empty()) errors.Add(CheckName("cluster_id", config.cluster_id()));
  errors.CheckListen("grpc_listen", config.grpc_listen());
  errors.CheckListen("admin_listen", config.admin_listen());
  if (static_cast<size_t>(config.services_size()) > kMaxServices) {
    errors.Add(absl::StrCat("services: expected at most ", kMaxServices, "; got ",
                            config.services_size()));
  }
  std::set<std::string> names;
  ListenAddresses listens;
  size_t endpoints = 0;
  size_t addresses = 0;
  for (int i = 0; i < config.services_size(); ++i) {
    const v1::ServiceConfig& service = config.services(i);
    const std::string where = absl::StrCat("services[", i, "]");
    errors.Add(CheckName(where + ".name", service.name()));
    if (!names.insert(service.name()).second) {
      errors.Add(absl::StrCat(where, ".name: expected a unique name; an earlier service is also \"",
                              service.name(), "\""));
    }
    CheckListens(service, where + ".listen", &listens, &errors);
    if (absl::Status fits = CheckMode(service); !fits.ok()) {
      errors.Add(absl::StrCat(where, ".", fits.message()));
    }
    if (service.has_health_check()) {
      const absl::Status fits =
          CheckHealthCheck(service.health_check(), service.mode(), service.message());
      if (!fits.ok()) errors.Add(absl::StrCat(where, ".", fits.message()));
    }
    CheckEndpoints(service, where, &errors);
    endpoints += static_cast<size_t>(service.endpoints_size());
    addresses += static_cast<size_t>(service.listen_size());
  }
  if (addresses > kMaxClusterListens) {
    errors.Add(absl::StrCat("services: expected at most ", kMaxClusterListens,
                            " addresses to listen on over all services; got ", addresses));
  }
  if (endpoints > kMaxClusterEndpoints) {
    errors.Add(absl::StrCat("services: expected at most ", kMaxClusterEndpoints,
                            " endpoints over all services; got ", endpoints));
  }
  return errors.Take();
}

std::vector<std::string> FindErrors(const v1::ProxyConfig& config) {
  Errors errors;
  errors.Add(CheckName("proxy_id", config.proxy_id()));
  errors.Add(CheckPeerAddress("controller", config.controller()));
  errors.CheckListen("admin_listen", config.admin_listen());
  if (const std::string& host = config.bind_address(); !host.empty()) {
    errors.Add(ReadBindHost("bind_address", host).status());
  }
  CheckConnectionLog(config.connection_log(), &errors);
  if (!config.handover_socket().empty() && config.snapshot_file().empty()) {
    errors.Add(
        std::string("handover_socket: requires snapshot_file, from which a successor serves "
                    "at once"));
  }
  return errors.Take();
}

std::vector<std::string> FindErrors(const v1::AgentConfig& config) {
  Errors errors;
  errors.Add(CheckName("agent_id", config.agent_id()));
  CheckAgentAddresses(config, &errors);
  const auto services = static_cast<size_t>(config.services_size());
  if (services == 0 || services > kMaxAgentEndpoints) {
    errors.Add(absl::StrCat("services: expected 1 to ", kMaxAgentEndpoints, ", got ", services));
  }
  std::set<std::string> names;
  for (int i = 0; i < config.services_size(); ++i) CheckAgentService(config, i, &names, &errors);
  return errors.Take();
}

}  // namespace trunkline
