#include "controller/serve/admin_service.h"

#include <google/protobuf/descriptor.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/config/config_schema.h"
#include "controller/core/load_report.h"
#include "controller/core/proxy_table.h"
#include "controller/core/snapshot_publisher.h"
#include "controller/loop/control_loop.h"
#include "controller/serve/server_stream.h"
#include "controller/wire/snapshot.h"
#include "controller/wire/view.h"
#include "trunkline/v1/admin.pb.h"

namespace trunkline {
namespace {

using grpc::ServerUnaryReactor;

ServerUnaryReactor* Finished(grpc::CallbackServerContext* context, const absl::Status& status) {
  ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

// The reactor and the response live until Finish.
template <typename Response>
ControlLoop::AdminDone FinishLater(ServerUnaryReactor* reactor, Response* response) {
  return [reactor, response](absl::StatusOr<SnapshotVersion> id) {
    if (id.ok()) WriteSnapshotId(*id, response->mutable_snapshot_id());
    reactor->Finish(ToGrpc(id.status()));
  };
}

template <typename Request>
EndpointKey KeyOf(const Request& request) {
  return {request.service(), request.endpoint_id()};
}

absl::Status CheckPin(const v1::PinRequest& request) {
  const auto& field =
      *v1::PinRequest::descriptor()->FindFieldByNumber(v1::PinRequest::kWeightFieldNumber);
  if (WithinBounds(RuleOf(field), request.weight())) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("weight: expected ", Expectation(field), "; got ", request.weight()));
}

// The loop does not know what proxies report.
void WriteHealth(const std::map<EndpointKey, EndpointVerdict>& verdicts,
                 v1::ListEndpointsResponse* response) {
  for (v1::ListEndpointsResponse::Item& item : *response->mutable_endpoints()) {
    const auto verdict = verdicts.find({item.service(), item.weight().endpoint_id()});
    if (verdict == verdicts.end()) continue;
    item.set_checking_proxies(static_cast<uint32_t>(verdict->second.checked_by));
    item.set_healthy_proxies(static_cast<uint32_t>(verdict->second.healthy_by));
  }
}

std::string LastError(const ProxyRecord& proxy) {
  if (!proxy.last_error.empty()) return proxy.last_error;
  const std::string& refused = proxy.traffic.services_refused;
  const std::string& missing = proxy.traffic.listeners_missing;
  return absl::StrCat(refused, refused.empty() || missing.empty() ? "" : "; ", missing);
}

void WriteProxy(const ProxyRecord& proxy, MonotonicTime now, v1::ListProxiesResponse::Item* out) {
  out->set_proxy_id(proxy.proxy_id);
  out->set_version(proxy.version);
  out->set_workers(proxy.workers);
  out->set_connected(proxy.connected);
  WriteSnapshotId(proxy.acked, out->mutable_acked());
  out->set_last_error(LastError(proxy));
  out->set_clients(proxy.traffic.clients);
  out->set_trunks(proxy.traffic.trunks);
  out->set_flows_per_second(proxy.traffic.flows_per_second);
  out->set_last_seen_seconds(absl::ToDoubleSeconds(now - proxy.last_seen));
}

}  // namespace

ServerUnaryReactor* AdminService::ListServices(Context* context, const v1::ListServicesRequest*,
                                               v1::ListServicesResponse* response) {
  *response = WriteServices(*loop_.view());
  return Finished(context, absl::OkStatus());
}

ServerUnaryReactor* AdminService::ListEndpoints(Context* context,
                                                const v1::ListEndpointsRequest* request,
                                                v1::ListEndpointsResponse* response) {
  absl::StatusOr<v1::ListEndpointsResponse> list = WriteEndpoints(*loop_.view(), *request);
  if (!list.ok()) return Finished(context, list.status());
  *response = *std::move(list);
  WriteHealth(proxies_.Verdicts(), response);
  return Finished(context, absl::OkStatus());
}

ServerUnaryReactor* AdminService::ListProxies(Context* context, const v1::ListProxiesRequest*,
                                              v1::ListProxiesResponse* response) {
  const MonotonicTime now = MonotonicNow();
  for (const ProxyRecord& proxy : proxies_.List(now)) {
    WriteProxy(proxy, now, response->add_proxies());
  }
  return Finished(context, absl::OkStatus());
}

ServerUnaryReactor* AdminService::Drain(Context* context, const v1::DrainRequest* request,
                                        v1::DrainResponse* response) {
  ServerUnaryReactor* reactor = context->DefaultReactor();
  loop_.SetDraining(KeyOf(*request), true, FinishLater(reactor, response));
  return reactor;
}

ServerUnaryReactor* AdminService::Undrain(Context* context, const v1::UndrainRequest* request,
                                          v1::UndrainResponse* response) {
  ServerUnaryReactor* reactor = context->DefaultReactor();
  loop_.SetDraining(KeyOf(*request), false, FinishLater(reactor, response));
  return reactor;
}

ServerUnaryReactor* AdminService::Pin(Context* context, const v1::PinRequest* request,
                                      v1::PinResponse* response) {
  if (absl::Status checked = CheckPin(*request); !checked.ok()) return Finished(context, checked);
  ServerUnaryReactor* reactor = context->DefaultReactor();
  loop_.SetPin(KeyOf(*request), request->weight(), FinishLater(reactor, response));
  return reactor;
}

ServerUnaryReactor* AdminService::Unpin(Context* context, const v1::UnpinRequest* request,
                                        v1::UnpinResponse* response) {
  ServerUnaryReactor* reactor = context->DefaultReactor();
  loop_.SetPin(KeyOf(*request), std::nullopt, FinishLater(reactor, response));
  return reactor;
}

ServerUnaryReactor* AdminService::Forget(Context* context, const v1::ForgetRequest* request,
                                         v1::ForgetResponse* response) {
  ServerUnaryReactor* reactor = context->DefaultReactor();
  loop_.Forget(request->service(), request->endpoint_id(),
               [reactor, response](absl::StatusOr<ControlLoop::Forgotten> forgotten) {
                 if (forgotten.ok()) {
                   response->set_endpoints(static_cast<uint32_t>(forgotten->endpoints));
                   WriteSnapshotId(forgotten->version, response->mutable_snapshot_id());
                 }
                 reactor->Finish(ToGrpc(forgotten.status()));
               });
  return reactor;
}

ServerUnaryReactor* AdminService::Reload(Context* context, const v1::ReloadRequest*,
                                         v1::ReloadResponse* response) {
  if (reloader_ == nullptr) {
    return Finished(context,
                    absl::FailedPreconditionError("this controller has no configuration file"));
  }
  ServerUnaryReactor* reactor = context->DefaultReactor();
  reloader_(FinishLater(reactor, response));
  return reactor;
}

ServerUnaryReactor* AdminService::GetSnapshot(Context* context, const v1::GetSnapshotRequest*,
                                              v1::GetSnapshotResponse* response) {
  WriteSnapshot(*loop_.view()->snapshot, response->mutable_snapshot());
  return Finished(context, absl::OkStatus());
}

}  // namespace trunkline
