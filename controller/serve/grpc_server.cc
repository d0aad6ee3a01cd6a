#include "controller/serve/grpc_server.h"

#include <grpc/grpc.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/grpc/controller_channel.h"
#include "common/grpc/deadline.h"
#include "controller/core/proxy_table.h"
#include "controller/loop/control_loop.h"
#include "controller/serve/admin_service.h"
#include "grpc/health/v1/health.pb.h"

namespace trunkline {

GrpcServer::GrpcServer(ControlLoop& loop, ProxyTable& proxies, AdminService::Reloader reloader)
    : reporting_(loop),
      discovery_(loop, proxies),
      weights_(loop),
      admin_(loop, proxies, std::move(reloader)) {}

absl::Status GrpcServer::Start(const std::string& listen) {
  grpc::EnableDefaultHealthCheckService(true);
  // These calls make the linker keep the plugin's library and the description of gRPC's health
  // service, which reflection serves.
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::health::v1::HealthCheckRequest::descriptor();
  const auto millis = [](absl::Duration d) {
    return static_cast<int>(absl::ToInt64Milliseconds(d));
  };
  grpc::ServerBuilder builder;
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, millis(kKeepaliveTime));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, millis(kKeepaliveTimeout));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             millis(kMinPingInterval));
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder.SetMaxReceiveMessageSize(kMaxClientMessageBytes);
  builder.SetMaxSendMessageSize(kMaxControllerMessageBytes);
  builder.AddListeningPort(listen, grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(&reporting_);
  builder.RegisterService(&discovery_);
  builder.RegisterService(&weights_);
  builder.RegisterService(&admin_);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port_ == 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", listen,
                     " for gRPC; another controller may be using the address. Stop it, or set "
                     "grpc_listen to another address"));
  }
  return absl::OkStatus();
}

void GrpcServer::Shutdown() {
  if (server_ == nullptr) return;
  reporting_.Shutdown();
  discovery_.Shutdown();
  weights_.Shutdown();
  server_->Shutdown(GrpcDeadline(kShutdownTimeout));
  server_.reset();
}

}  // namespace trunkline
