#include "controller/wire/snapshot.h"

#include "common/base/forwarding_mode.h"
#include "common/config/durations.h"
#include "common/config/proxy_version_wire.h"
#include "controller/core/service_spec.h"
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
  out->set_accept_proxy_protocol(service.proxy_protocol.accept);
  out->set_send_proxy_protocol(WriteProxyVersion(service.proxy_protocol.send));
  for (const SnapshotEndpoint& endpoint : service.endpoints) {
    v1::Endpoint* written = out->add_endpoints();
    written->set_endpoint_id(endpoint.endpoint_id);
    written->set_address(endpoint.address);
    written->set_weight(endpoint.weight);
    written->set_draining(endpoint.draining);
    written->set_capacity(endpoint.capacity);
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
}

}  // namespace trunkline
