// The controller's gRPC server: its four services, health checks and reflection on one port.
//
// Turns SO_REUSEPORT off, because gRPC would otherwise let two controllers silently share a port.
// Thread-safe. Borrows the loop and the table, which outlive it. Construct it before the loop's
// Start().
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/grpc/controller_channel.h"
#include "controller/core/proxy_table.h"
#include "controller/loop/control_loop.h"
#include "controller/serve/admin_service.h"
#include "controller/serve/discovery_service.h"
#include "controller/serve/load_reporting_service.h"
#include "controller/serve/weight_service.h"

namespace trunkline {

class GrpcServer {
 public:
  static constexpr int kMaxMetadataBytes = 16 << 10;
  // gRPC closes connections that send PINGs more often. Half of kKeepaliveTime, the interval of the
  // clients.
  static constexpr absl::Duration kMinPingInterval = absl::Seconds(5);
  // Calls in progress may take this long at a stop.
  static constexpr absl::Duration kShutdownTimeout = absl::Seconds(2);

  GrpcServer(ControlLoop& loop, ProxyTable& proxies, AdminService::Reloader reloader = nullptr);
  ~GrpcServer() { Shutdown(); }

  // Listens on `listen`, host:port; port 0 selects a free port. Returns UNAVAILABLE with the
  // address if it cannot.
  absl::Status Start(const std::string& listen);
  // Ends every stream, then stops the server. Idempotent.
  void Shutdown();

  int port() const { return port_; }

 private:
  LoadReportingService reporting_;
  DiscoveryService discovery_;
  WeightService weights_;
  AdminService admin_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

}  // namespace trunkline
