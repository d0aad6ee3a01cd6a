// trunkctl's gRPC client of the controller: one channel, calls with a deadline, and errors with a
// remedy. Confined to the main thread.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "trunkline/v1/admin.grpc.pb.h"
#include "trunkline/v1/weights.grpc.pb.h"

namespace trunkline {

// Scripts depend on these exit codes.
enum ExitCode {
  kOk = 0,
  // The controller refused the call.
  kRefused = 1,
  // The command line or a configuration file is wrong.
  kUsage = 2,
  // No controller answered.
  kNoAnswer = 3,
  // The command did its work, but its output could not be written.
  kNoOutput = 4,
};

// Prints an error to standard error: "trunkctl: MESSAGE", or as one line of JSON, {"error":
// {"code": "NOT_FOUND", "message": "..."}}, where the code is that of gRPC.
void PrintError(bool json, absl::StatusCode code, const std::string& message);

class ControllerClient {
 public:
  // A controller on the same network answers within milliseconds, and an operator should not wait
  // longer for an error.
  static constexpr absl::Duration kDeadline = absl::Seconds(3);

  // Prints errors as JSON if `json`.
  ControllerClient(const std::string& address, bool json);

  v1::WeightService::Stub& weights() { return *weights_; }
  v1::AdminService::Stub& admin() { return *admin_; }

  // Runs `call` with a context that has the deadline. Prints any error to standard error. Returns
  // the exit code.
  int Call(const std::function<grpc::Status(grpc::ClientContext*)>& call) const;
  // The same without a word about errors.
  grpc::Status Try(const std::function<grpc::Status(grpc::ClientContext*)>& call) const;
  // Connects within the deadline, before a stream, which has none. Returns the exit code.
  int Connect() const;
  // Prints `status` unless it is OK, and returns its exit code.
  int Explain(const grpc::Status& status) const;

 private:
  const std::string address_;
  const bool json_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::WeightService::Stub> weights_;
  std::unique_ptr<v1::AdminService::Stub> admin_;
};

}  // namespace trunkline
