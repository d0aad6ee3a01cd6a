#include "controller/wire/config.h"

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/forwarding_mode.h"
#include "common/config/balancing_policy_wire.h"
#include "common/config/config_rules.h"
#include "common/config/durations.h"
#include "common/config/proxy_version_wire.h"
#include "controller/core/service_spec.h"
#include "controller/wire/snapshot.h"
#include "trunkline/v1/config.pb.h"
#include "trunkline/v1/service.pb.h"

namespace trunkline {
namespace {

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
  spec.listen.assign(config.listen().begin(), config.listen().end());
  spec.mode = ReadMode(config.mode());
  // The loader accepts only policies and versions that this program knows.
  spec.policy = *ReadPolicy(config.policy());
  spec.limits = ReadLimits(config.limits());
  if (spec.mode == ForwardingMode::kMessage) {
    spec.message_options = config.message().SerializeAsString();
  }
  spec.proxy_protocol.accept = config.accept_proxy_protocol();
  spec.proxy_protocol.send = *ReadProxyVersion(config.send_proxy_protocol());
  if (config.has_health_check()) spec.health_check = config.health_check().SerializeAsString();
  for (const v1::EndpointHint& hint : config.endpoints()) {
    spec.endpoints.push_back({hint.endpoint_id(), hint.weight(), hint.address()});
  }
  return spec;
}

}  // namespace

absl::StatusOr<ControllerSettings> ReadControllerConfig(const v1::ControllerConfig& config) {
  if (absl::Status checked = CheckConfig(config); !checked.ok()) return checked;
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
  if (config.has_forget_after()) settings.forget_after = ReadDuration(config.forget_after());
  return settings;
}

}  // namespace trunkline
