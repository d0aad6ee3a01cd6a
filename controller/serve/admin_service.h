// Operators' lists and orders: what exists, drain, undrain, pin, unpin.
//
// An order is answered once the snapshot in which it holds is published and the state file knows
// it. Thread-safe (gRPC's callback API). Borrows the loop and the table, which outlive it; calls in
// progress are finished by the loop.
#pragma once

#include "controller/core/proxy_table.h"
#include "controller/loop/control_loop.h"
#include "trunkline/v1/admin.grpc.pb.h"

namespace trunkline {

class AdminService : public v1::AdminService::CallbackService {
 public:
  static constexpr double kMinPin = 0.001;
  static constexpr double kMaxPin = 10000;

  AdminService(ControlLoop& loop, ProxyTable& proxies) : loop_(loop), proxies_(proxies) {}

  using Context = grpc::CallbackServerContext;
  grpc::ServerUnaryReactor* ListServices(Context* context, const v1::ListServicesRequest* request,
                                         v1::ListServicesResponse* response) override;
  grpc::ServerUnaryReactor* ListEndpoints(Context* context, const v1::ListEndpointsRequest* request,
                                          v1::ListEndpointsResponse* response) override;
  grpc::ServerUnaryReactor* ListProxies(Context* context, const v1::ListProxiesRequest* request,
                                        v1::ListProxiesResponse* response) override;
  grpc::ServerUnaryReactor* Drain(Context* context, const v1::EndpointRequest* request,
                                  v1::AdminResponse* response) override;
  grpc::ServerUnaryReactor* Undrain(Context* context, const v1::EndpointRequest* request,
                                    v1::AdminResponse* response) override;
  grpc::ServerUnaryReactor* Pin(Context* context, const v1::PinRequest* request,
                                v1::AdminResponse* response) override;
  grpc::ServerUnaryReactor* Unpin(Context* context, const v1::EndpointRequest* request,
                                  v1::AdminResponse* response) override;
  grpc::ServerUnaryReactor* GetSnapshot(Context* context, const v1::GetSnapshotRequest* request,
                                        v1::Snapshot* response) override;

 private:
  ControlLoop& loop_;
  ProxyTable& proxies_;
};

}  // namespace trunkline
