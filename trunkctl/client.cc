#include "trunkctl/client.h"

#include <chrono>
#include <iostream>

#include "common/grpc/controller_channel.h"

namespace trunkline {

ControllerClient::ControllerClient(const std::string& address)
    : address_(address),
      channel_(NewControllerChannel(address)),
      weights_(v1::WeightService::NewStub(channel_)),
      admin_(v1::AdminService::NewStub(channel_)) {}

int ControllerClient::Call(const std::function<grpc::Status(grpc::ClientContext*)>& call) const {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kDeadline);
  return Explain(call(&context));
}

int ControllerClient::Connect() const {
  if (channel_->WaitForConnected(std::chrono::system_clock::now() + kDeadline)) return kOk;
  return Explain({grpc::StatusCode::UNAVAILABLE, "cannot connect"});
}

int ControllerClient::Explain(const grpc::Status& status) const {
  switch (status.error_code()) {
    case grpc::StatusCode::OK:
      return kOk;
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      std::cerr << "trunkctl: no controller answers at " << address_ << " ("
                << status.error_message() << ").\n"
                << "Set another address with --controller HOST:PORT or TRUNKLINE_CONTROLLER, or "
                   "start a controller:\n"
                << "  trunkline-controller --config controller.yaml\n";
      return kNoAnswer;
    default:
      std::cerr << "trunkctl: " << status.error_message() << "\n";
      return kRefused;
  }
}

}  // namespace trunkline
