#include "common/grpc/connector.h"

#include <grpcpp/generic/generic_stub.h>

#include <memory>
#include <mutex>
#include <utility>

#include "absl/time/time.h"
#include "common/grpc/controller_channel.h"
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
    Cancel();
    void* tag = nullptr;
    bool ok = false;
    queue_.Next(&tag, &ok);
  }

  // Ends Await soon. Thread-safe.
  void Cancel() { context_.TryCancel(); }
  // Waits for the end; returns whether it came.
  bool Await(absl::Duration timeout) {
    void* tag = nullptr;
    bool ok = false;
    ended_ = queue_.AsyncNext(&tag, &ok, GrpcDeadline(timeout)) == grpc::CompletionQueue::GOT_EVENT;
    return ended_;
  }
  const grpc::Status& status() const { return status_; }

 private:
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
  Attempt attempt(channel_);
  {
    const std::lock_guard lock(mutex_);
    attempt_ = &attempt;
    if (cancelled_) attempt.Cancel();
  }
  const bool ended = attempt.Await(kMaxAttempt);
  {
    const std::lock_guard lock(mutex_);
    attempt_ = nullptr;
    wait_ = absl::ZeroDuration();
    if (std::exchange(cancelled_, false)) {
      return {grpc::StatusCode::CANCELLED, "the attempt to connect was cancelled"};
    }
  }
  grpc::Status status =
      ended ? attempt.status() : grpc::Status(grpc::StatusCode::UNAVAILABLE, "nothing answers");
  // The controller answered, whatever it said.
  if (status.error_code() != grpc::StatusCode::UNAVAILABLE) return grpc::Status::OK;
  channel_.reset();
  wait_ = delay_.Next();
  return status;
}

void Connector::Cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  if (attempt_ != nullptr) attempt_->Cancel();
}

}  // namespace trunkline
