#include "controller/wire/config.h"

#include <set>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/config/durations.h"
#include "common/config/message_options.h"
#include "common/config/names.h"
#include "common/config/proxy_version_wire.h"
#include "controller/wire/snapshot.h"

namespace trunkline {
namespace {

PolicyKind ReadPolicy(v1::WeightPolicy policy) {
  switch (policy) {
    case v1::WEIGHT_POLICY_STATIC:
      return PolicyKind::kStatic;
    case v1::WEIGHT_POLICY_ROUND_ROBIN:
      return PolicyKind::kRoundRobin;
    default:
      return PolicyKind::kAdaptive;
  }
}

std::optional<absl::Duration> ReadLimit(bool given, const google::protobuf::Duration& value) {
  return given ? std::optional(ReadDuration(value)) : std::nullopt;
}

FlowLimitSpec ReadLimits(const v1::FlowLimits& limits) {
  return {
      .connect_timeout = ReadLimit(limits.has_connect_timeout(), limits.connect_timeout()),
      .idle_timeout = ReadLimit(limits.has_idle_timeout(), limits.idle_timeout()),
      .first_byte_timeout = ReadLimit(limits.has_first_byte_timeout(), limits.first_byte_timeout()),
      .max_clients = limits.max_clients(),
      .max_clients_per_source = limits.max_clients_per_source()};
}

ServiceSpec ReadService(const v1::ServiceConfig& config) {
  ServiceSpec spec;
  spec.name = config.name();
  spec.listen = config.listen();
  spec.mode = ReadMode(config.mode());
  spec.policy = ReadPolicy(config.policy());
  spec.limits = ReadLimits(config.limits());
  if (spec.mode == ForwardingMode::kMessage) {
    spec.message_options = config.message().SerializeAsString();
  }
  spec.proxy_protocol.accept = config.accept_proxy_protocol();
  // The loader accepts only versions that this program knows.
  spec.proxy_protocol.send = *ReadProxyVersion(config.send_proxy_protocol());
  for (const v1::EndpointHint& hint : config.endpoints()) {
    spec.endpoints.push_back({hint.endpoint_id(), hint.weight(), hint.address()});
  }
  return spec;
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

std::vector<std::string> FindMisfits(const v1::ControllerConfig& config) {
  std::vector<std::string> errors;
  if (!config.cluster_id().empty()) {
    const absl::Status named = CheckName("cluster_id", config.cluster_id());
    if (!named.ok()) errors.emplace_back(named.message());
  }
  std::set<std::string> names, listens;
  for (int i = 0; i < config.services_size(); ++i) {
    const v1::ServiceConfig& service = config.services(i);
    const std::string where = absl::StrCat("services[", i, "]");
    if (!names.insert(service.name()).second) {
      errors.push_back(absl::StrCat(where,
                                    ".name: expected a unique name; an earlier service is also \"",
                                    service.name(), "\""));
    }
    // Port 0 selects a different free port each time.
    const bool any_port = absl::EndsWith(service.listen(), ":0");
    if (!any_port && !listens.insert(service.listen()).second) {
      errors.push_back(
          absl::StrCat(where, ".listen: expected a unique address; an earlier service also has ",
                       service.listen()));
    }
    if (absl::Status fits = CheckMode(service); !fits.ok()) {
      errors.push_back(absl::StrCat(where, ".", fits.message()));
    }
    std::set<std::string> endpoints;
    for (int j = 0; j < service.endpoints_size(); ++j) {
      const std::string& id = service.endpoints(j).endpoint_id();
      if (endpoints.insert(id).second) continue;
      errors.push_back(absl::StrCat(
          where, ".endpoints[", j,
          "].endpoint_id: expected a unique id; an earlier endpoint is also \"", id, "\""));
    }
  }
  return errors;
}

}  // namespace

absl::StatusOr<ControllerSettings> ReadControllerConfig(const v1::ControllerConfig& config) {
  const std::vector<std::string> errors = FindMisfits(config);
  if (!errors.empty()) return absl::InvalidArgumentError(absl::StrJoin(errors, "\n"));
  ControllerSettings settings;
  if (!config.grpc_listen().empty()) settings.grpc_listen = config.grpc_listen();
  if (!config.admin_listen().empty()) settings.admin_listen = config.admin_listen();
  settings.state_file = config.state_file();
  settings.cluster_id = config.cluster_id();
  for (const v1::ServiceConfig& service : config.services()) {
    settings.services.push_back(ReadService(service));
  }
  if (config.has_report_interval()) {
    settings.report_interval = ReadDuration(config.report_interval());
  }
  if (config.has_tick_interval()) settings.tick_interval = ReadDuration(config.tick_interval());
  if (config.has_slow_start()) settings.slow_start = ReadDuration(config.slow_start());
  return settings;
}

}  // namespace trunkline
