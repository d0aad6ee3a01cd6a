#include "controller/wire/snapshot.h"

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/forwarding_mode.h"
#include "common/config/balancing_policy_wire.h"
#include "common/config/durations.h"
#include "common/config/proxy_version_wire.h"
#include "controller/core/service_spec.h"
#include "controller/core/snapshot_delta.h"
#include "controller/core/snapshot_publisher.h"
#include "trunkline/v1/discovery.pb.h"
#include "trunkline/v1/service.pb.h"

namespace trunkline {
namespace {

void WriteLimits(const FlowLimitSpec& limits, v1::FlowLimits* out) {
  if (limits.connect_timeout) {
    WriteDuration(*limits.connect_timeout, out->mutable_connect_timeout());
  }
  if (limits.idle_timeout) WriteDuration(*limits.idle_timeout, out->mutable_idle_timeout());
  if (limits.first_byte_timeout) {
    WriteDuration(*limits.first_byte_timeout, out->mutable_first_byte_timeout());
  }
  if (limits.max_clients > 0) out->set_max_clients(limits.max_clients);
  if (limits.max_clients_per_source > 0) {
    out->set_max_clients_per_source(limits.max_clients_per_source);
  }
}

void WriteEndpoint(const SnapshotEndpoint& endpoint, v1::Endpoint* out) {
  out->set_endpoint_id(endpoint.endpoint_id);
  out->set_address(endpoint.address);
  out->set_weight(endpoint.weight);
  out->set_draining(endpoint.draining);
  out->set_capacity(endpoint.capacity);
}

void WriteService(const SnapshotService& service, v1::Service* out) {
  out->set_name(service.name);
  out->set_mode(WriteMode(service.mode));
  out->mutable_listener()->mutable_address()->Assign(service.listen.begin(), service.listen.end());
  WriteLimits(service.limits, out->mutable_limits());
  if (service.mode == ForwardingMode::kMessage) {
    out->mutable_message()->ParseFromString(service.message_options);
  }
  if (!service.health_check.empty()) {
    out->mutable_health_check()->ParseFromString(service.health_check);
  }
  out->set_policy(WritePolicy(service.policy));
  out->set_accept_proxy_protocol(service.proxy_protocol.accept);
  out->set_send_proxy_protocol(WriteProxyVersion(service.proxy_protocol.send));
  for (const SnapshotEndpoint& endpoint : service.endpoints) {
    WriteEndpoint(endpoint, out->add_endpoints());
  }
}

void WriteNumbers(const std::vector<ServiceDelta::Number>& numbers, v1::NumberChanges* out) {
  uint32_t next = 0;
  for (const auto& [position, value] : numbers) {
    out->add_skipped(position - next);
    out->add_values(value);
    next = position + 1;
  }
}

void WriteServiceDelta(const ServiceDelta& delta, v1::ServiceDelta* out) {
  out->set_name(delta.name);
  if (!delta.weights.empty()) WriteNumbers(delta.weights, out->mutable_weights());
  if (!delta.capacities.empty()) WriteNumbers(delta.capacities, out->mutable_capacities());
  for (const std::string& id : delta.removed_endpoints) out->add_removed_endpoints(id);
  for (const SnapshotEndpoint& endpoint : delta.endpoints) {
    WriteEndpoint(endpoint, out->add_endpoints());
  }
}

}  // namespace

v1::ForwardingMode WriteMode(ForwardingMode kind) {
  switch (kind) {
    case ForwardingMode::kTunnel:
      return v1::FORWARDING_MODE_TUNNEL;
    case ForwardingMode::kMessage:
      return v1::FORWARDING_MODE_MESSAGE;
    case ForwardingMode::kDirect:
      return v1::FORWARDING_MODE_DIRECT;
  }
  return v1::FORWARDING_MODE_UNSPECIFIED;
}

ForwardingMode ReadMode(v1::ForwardingMode mode) {
  switch (mode) {
    case v1::FORWARDING_MODE_MESSAGE:
      return ForwardingMode::kMessage;
    case v1::FORWARDING_MODE_DIRECT:
      return ForwardingMode::kDirect;
    default:
      return ForwardingMode::kTunnel;
  }
}

SnapshotVersion ReadSnapshotId(const v1::SnapshotId& id) { return {id.epoch(), id.version()}; }

void WriteSnapshotId(const SnapshotVersion& id, v1::SnapshotId* out) {
  out->set_epoch(id.epoch);
  out->set_version(id.version);
}

void WriteSnapshot(const ClusterSnapshot& snapshot, v1::Snapshot* out) {
  WriteSnapshotId(snapshot.id, out->mutable_id());
  for (const auto& service : snapshot.services) WriteService(*service, out->add_services());
}

void WriteDelta(const ClusterDelta& delta, v1::SnapshotDelta* out) {
  WriteSnapshotId(delta.base, out->mutable_base());
  WriteSnapshotId(delta.id, out->mutable_id());
  for (const auto& service : delta.services) WriteService(*service, out->add_services());
  for (const std::string& name : delta.removed_services) out->add_removed_services(name);
  for (const ServiceDelta& changed : delta.changed_services) {
    WriteServiceDelta(changed, out->add_changed_services());
  }
}

}  // namespace trunkline
