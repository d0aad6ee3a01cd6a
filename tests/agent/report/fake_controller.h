// A controller for tests, in this process and over real gRPC: sends the directives that a test sets
// and records the reports.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "trunkline/v1/load_report.grpc.pb.h"

namespace trunkline {

// Longer than any step on a busy machine; a passing test does not wait for it.
inline constexpr absl::Duration kPatience = absl::Seconds(30);

class FakeController final : public v1::LoadReportingService::Service {
 public:
  struct Received {
    int stream = 0;
    v1::ReportLoadRequest report;
  };

  // Port 0 selects a free port.
  explicit FakeController(int port = 0) {
    grpc::ServerBuilder builder;
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.AddListeningPort(absl::StrCat("127.0.0.1:", port), grpc::InsecureServerCredentials(),
                             &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    EXPECT_NE(server_, nullptr) << "port " << port;
  }
  ~FakeController() override { Kill(); }

  int port() const { return port_; }
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

  // Breaks every stream and closes the port.
  void Kill() {
    {
      absl::MutexLock lock(&mutex_);
      for (grpc::ServerContext* context : contexts_) context->TryCancel();
      reads_ = true;
    }
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
    server_.reset();
  }

  // Sets the first directive of each stream.
  void set_directive(v1::ReportLoadResponse directive) {
    absl::MutexLock lock(&mutex_);
    directive_ = std::move(directive);
  }
  // Ends the next streams with this status before any read.
  void RefuseStreams(int count, grpc::Status status) {
    absl::MutexLock lock(&mutex_);
    refusals_ = count;
    refusal_ = std::move(status);
  }
  // If false, streams stay open but are not read.
  void set_reads(bool reads) {
    absl::MutexLock lock(&mutex_);
    reads_ = reads;
  }

  // Returns the first report from index `from` on that satisfies `wanted`; fails the test if there
  // is none.
  Received Await(const std::function<bool(const Received&)>& wanted, size_t from = 0) {
    size_t index = from;
    const auto found = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      while (index < received_.size() && !wanted(received_[index])) ++index;
      return index < received_.size();
    };
    absl::MutexLock lock(&mutex_);
    if (!mutex_.AwaitWithTimeout(absl::Condition(&found), kPatience)) {
      ADD_FAILURE() << "no such report among " << received_.size();
      return {};
    }
    return received_[index];
  }
  std::vector<Received> AwaitCount(size_t count) {
    absl::MutexLock lock(&mutex_);
    const auto enough = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return received_.size() >= count;
    };
    EXPECT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&enough), kPatience))
        << received_.size() << " reports instead of " << count;
    return received_;
  }
  std::vector<Received> received() {
    absl::MutexLock lock(&mutex_);
    return received_;
  }
  // Streams that the agent half-closed.
  int AwaitHalfCloses(int count) {
    absl::MutexLock lock(&mutex_);
    const auto enough = [&]()
                            ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return half_closes_ >= count; };
    mutex_.AwaitWithTimeout(absl::Condition(&enough), kPatience);
    return half_closes_;
  }

 private:
  using ReportStream = grpc::ServerReaderWriter<v1::ReportLoadResponse, v1::ReportLoadRequest>;

  grpc::Status ReportLoad(grpc::ServerContext* context, ReportStream* stream) override {
    int number = 0;
    v1::ReportLoadResponse directive;
    {
      absl::MutexLock lock(&mutex_);
      if (refusals_ > 0) {
        --refusals_;
        return refusal_;
      }
      number = ++streams_;
      directive = directive_;
      contexts_.push_back(context);
      mutex_.Await(absl::Condition(&reads_));
    }
    v1::ReportLoadRequest report;
    bool first = true;
    while (stream->Read(&report)) {
      {
        absl::MutexLock lock(&mutex_);
        received_.push_back({number, report});
      }
      if (std::exchange(first, false)) stream->Write(directive);
    }
    absl::MutexLock lock(&mutex_);
    std::erase(contexts_, context);
    if (!context->IsCancelled()) ++half_closes_;
    return grpc::Status::OK;
  }

  absl::Mutex mutex_;
  v1::ReportLoadResponse directive_ ABSL_GUARDED_BY(mutex_);
  bool reads_ ABSL_GUARDED_BY(mutex_) = true;
  int refusals_ ABSL_GUARDED_BY(mutex_) = 0;
  grpc::Status refusal_ ABSL_GUARDED_BY(mutex_);
  int streams_ ABSL_GUARDED_BY(mutex_) = 0;
  int half_closes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<Received> received_ ABSL_GUARDED_BY(mutex_);
  std::vector<grpc::ServerContext*> contexts_ ABSL_GUARDED_BY(mutex_);
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace trunkline
