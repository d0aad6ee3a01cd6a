// trunkctl's side of the controller's gRPC: one channel, calls with a deadline, errors an operator
// can act on.
//
// Confined to the main thread. Exit codes are the interface for scripts: see ExitCode.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>

#include "trunkline/v1/admin.grpc.pb.h"
#include "trunkline/v1/weights.grpc.pb.h"

namespace trunkline {

enum ExitCode {
  kOk = 0,
  // The controller answered and said no.
  kRefused = 1,
  // Wrong flags, or a configuration file that is wrong.
  kUsage = 2,
  // No controller answered.
  kNoAnswer = 3,
};

class ControllerClient {
 public:
  // A controller on the same network answers in milliseconds; an operator waits no longer than
  // this.
  static constexpr std::chrono::seconds kDeadline{3};

  explicit ControllerClient(const std::string& address);

  v1::WeightService::Stub& weights() { return *weights_; }
  v1::AdminService::Stub& admin() { return *admin_; }

  // Gives the context its deadline and runs the call; what went wrong is printed to standard error.
  int Call(const std::function<grpc::Status(grpc::ClientContext*)>& call) const;
  // For streams, which have no deadline: the connection itself has one.
  int Connect() const;
  // Prints `status`; its exit code.
  int Explain(const grpc::Status& status) const;

 private:
  const std::string address_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::WeightService::Stub> weights_;
  std::unique_ptr<v1::AdminService::Stub> admin_;
};

}  // namespace trunkline
