#include "trunkctl/client.h"

#include <functional>
#include <iostream>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/json_text.h"
#include "common/grpc/controller_channel.h"
#include "common/grpc/deadline.h"
#include "trunkline/v1/admin.grpc.pb.h"
#include "trunkline/v1/weights.grpc.pb.h"

namespace trunkline {

void PrintError(bool json, absl::StatusCode code, const std::string& message) {
  if (!json) {
    std::cerr << "trunkctl: " << message << "\n";
    return;
  }
  std::string line = "{\"error\": {\"code\": ";
  AppendJsonString(absl::StatusCodeToString(code), &line);
  line += ", \"message\": ";
  AppendJsonString(message, &line);
  std::cerr << line << "}}\n";
}

ControllerClient::ControllerClient(const std::string& address, bool json)
    : address_(address),
      json_(json),
      channel_(NewControllerChannel(address)),
      weights_(v1::WeightService::NewStub(channel_)),
      admin_(v1::AdminService::NewStub(channel_)) {}

int ControllerClient::Call(const std::function<grpc::Status(grpc::ClientContext*)>& call) const {
  return Explain(Try(call));
}

grpc::Status ControllerClient::Try(
    const std::function<grpc::Status(grpc::ClientContext*)>& call) const {
  grpc::ClientContext context;
  context.set_deadline(GrpcDeadline(kDeadline));
  return call(&context);
}

int ControllerClient::Connect() const {
  if (channel_->WaitForConnected(GrpcDeadline(kDeadline))) return kOk;
  return Explain({grpc::StatusCode::UNAVAILABLE, "cannot connect"});
}

int ControllerClient::Explain(const grpc::Status& status) const {
  const auto code = static_cast<absl::StatusCode>(status.error_code());
  switch (status.error_code()) {
    case grpc::StatusCode::OK:
      return kOk;
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      PrintError(json_, code,
                 absl::StrCat("no controller answers at ", address_, " (", status.error_message(),
                              ").\nSet another address with --controller HOST:PORT or "
                              "TRUNKLINE_CONTROLLER, or start a controller:\n"
                              "  trunkline-controller --config controller.yaml"));
      return kNoAnswer;
    default:
      PrintError(json_, code, status.error_message());
      return kRefused;
  }
}

}  // namespace trunkline
