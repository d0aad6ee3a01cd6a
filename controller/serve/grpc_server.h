// The controller's gRPC side as a whole: its four services, health and reflection on one port.
//
// The port is this process's alone: SO_REUSEPORT is off, since gRPC would otherwise let two
// controllers share a port in silence. Thread-safe. Borrows the loop and the table, which outlive
// it; created before the loop's Start().
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "controller/core/proxy_table.h"
#include "controller/loop/control_loop.h"
#include "controller/serve/admin_service.h"
#include "controller/serve/discovery_service.h"
#include "controller/serve/load_reporting_service.h"
#include "controller/serve/weight_service.h"

namespace trunkline {

class GrpcServer {
 public:
  // A full snapshot of the largest fleet is about 1 MiB.
  static constexpr int kMaxMessageBytes = 4 << 20;
  static constexpr int kMaxMetadataBytes = 16 << 10;
  // A dead peer is known after 15 s; agents and proxies ping as often.
  static constexpr absl::Duration kKeepaliveTime = absl::Seconds(10);
  static constexpr absl::Duration kKeepaliveTimeout = absl::Seconds(5);
  // Peers may ping twice as often before they are told to calm down.
  static constexpr absl::Duration kMinPingInterval = absl::Seconds(5);
  // Calls in progress at a stop.
  static constexpr absl::Duration kShutdownTimeout = absl::Seconds(2);

  GrpcServer(ControlLoop& loop, ProxyTable& proxies);
  ~GrpcServer() { Shutdown(); }

  // UNAVAILABLE names the address; port 0 takes a free one.
  absl::Status Start(const std::string& listen);
  // Ends every stream, then the server.
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
