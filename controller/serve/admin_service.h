// Serves operators: lists of services, endpoints and proxies; drain, undrain, pin, unpin, forget
// and reload.
//
// Answers an order once the first snapshot with it is published and the state file contains it.
// Thread-safe (gRPC's callback API). Borrows the loop and the table, which outlive it; the loop
// finishes calls in progress.
#pragma once

#include <functional>
#include <utility>

#include "controller/core/proxy_table.h"
#include "controller/loop/control_loop.h"
#include "trunkline/v1/admin.grpc.pb.h"

namespace trunkline {

class AdminService : public v1::AdminService::CallbackService {
 public:
  // Asks for a reload of the configuration and passes the result on; must not block.
  using Reloader = std::function<void(ControlLoop::AdminDone)>;

  // A null `reloader` refuses reloads.
  AdminService(ControlLoop& loop, ProxyTable& proxies, Reloader reloader)
      : loop_(loop), proxies_(proxies), reloader_(std::move(reloader)) {}

  using Context = grpc::CallbackServerContext;
  grpc::ServerUnaryReactor* ListServices(Context* context, const v1::ListServicesRequest* request,
                                         v1::ListServicesResponse* response) override;
  grpc::ServerUnaryReactor* ListEndpoints(Context* context, const v1::ListEndpointsRequest* request,
                                          v1::ListEndpointsResponse* response) override;
  grpc::ServerUnaryReactor* ListProxies(Context* context, const v1::ListProxiesRequest* request,
                                        v1::ListProxiesResponse* response) override;
  grpc::ServerUnaryReactor* Drain(Context* context, const v1::DrainRequest* request,
                                  v1::DrainResponse* response) override;
  grpc::ServerUnaryReactor* Undrain(Context* context, const v1::UndrainRequest* request,
                                    v1::UndrainResponse* response) override;
  grpc::ServerUnaryReactor* Pin(Context* context, const v1::PinRequest* request,
                                v1::PinResponse* response) override;
  grpc::ServerUnaryReactor* Unpin(Context* context, const v1::UnpinRequest* request,
                                  v1::UnpinResponse* response) override;
  grpc::ServerUnaryReactor* Forget(Context* context, const v1::ForgetRequest* request,
                                   v1::ForgetResponse* response) override;
  grpc::ServerUnaryReactor* GetSnapshot(Context* context, const v1::GetSnapshotRequest* request,
                                        v1::GetSnapshotResponse* response) override;
  grpc::ServerUnaryReactor* Reload(Context* context, const v1::ReloadRequest* request,
                                   v1::ReloadResponse* response) override;

 private:
  ControlLoop& loop_;
  ProxyTable& proxies_;
  const Reloader reloader_;
};

}  // namespace trunkline
