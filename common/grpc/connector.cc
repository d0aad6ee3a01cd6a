#include "common/grpc/connector.h"

#include <grpcpp/generic/generic_stub.h>

#include <utility>

#include "common/grpc/deadline.h"

namespace trunkline {
namespace {

// Every gRPC server of ours has it; another one answers UNIMPLEMENTED.
constexpr char kHealthCheck[] = "/grpc.health.v1.Health/Check";

}  // namespace

// One health check. It has no deadline, because that would be a timer of gRPC.
class Connector::Attempt {
 public:
  explicit Attempt(const std::shared_ptr<grpc::Channel>& channel) : stub_(channel) {
    const grpc::Slice empty;
    call_ = stub_.PrepareUnaryCall(&context_, kHealthCheck, grpc::ByteBuffer(&empty, 1), &queue_);
    call_->StartCall();
    call_->Finish(&reply_, &status_, this);
  }
  ~Attempt() {
    if (ended_) return;
    context_.TryCancel();
    void* tag = nullptr;
    bool ok = false;
    queue_.Next(&tag, &ok);
  }

  // Waits for the end; returns whether it came.
  bool Await(absl::Duration timeout) {
    void* tag = nullptr;
    bool ok = false;
    ended_ = queue_.AsyncNext(&tag, &ok, GrpcDeadline(timeout)) == grpc::CompletionQueue::GOT_EVENT;
    return ended_;
  }
  const grpc::Status& status() const { return status_; }
  absl::Duration age() const { return MonotonicNow() - start_; }

 private:
  const MonotonicTime start_ = MonotonicNow();
  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::GenericClientAsyncResponseReader> call_;
  grpc::ByteBuffer reply_;
  grpc::Status status_;
  bool ended_ = false;
};

Connector::Connector(std::string address) : address_(std::move(address)) {}

Connector::~Connector() = default;

grpc::Status Connector::Try() {
  if (channel_ == nullptr) channel_ = NewControllerChannel(address_);
  if (attempt_ == nullptr) attempt_ = std::make_unique<Attempt>(channel_);
  grpc::Status status;
  if (attempt_->Await(kMaxTry)) {
    status = attempt_->status();
  } else if (attempt_->age() < kMaxAttempt) {
    wait_ = absl::ZeroDuration();
    return {grpc::StatusCode::DEADLINE_EXCEEDED, "an attempt to connect runs"};
  } else {
    status = {grpc::StatusCode::UNAVAILABLE, "nothing answers"};
  }
  attempt_.reset();
  // The controller answered, whatever it said.
  if (status.error_code() != grpc::StatusCode::UNAVAILABLE) return grpc::Status::OK;
  channel_.reset();
  wait_ = delay_.Next();
  return status;
}

}  // namespace trunkline
