// A controller that a test plays: it receives each subscription, reads the proxy's requests and
// sends the test's responses.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/grpc/controller_channel.h"
#include "trunkline/v1/discovery.grpc.pb.h"

namespace trunkline::test {

// One subscription. Thread-safe.
class Subscription {
 public:
  using Stream = grpc::ServerReaderWriter<v1::SubscribeResponse, v1::SubscribeRequest>;
  Subscription(grpc::ServerContext* context, Stream* stream) : context_(context), stream_(stream) {}

  // Returns the next request that is not a traffic report, or the next that is, for NextTraffic.
  // Returns an empty one after 20 s.
  v1::SubscribeRequest Next() { return Take(requests_); }
  v1::TrafficReport NextTraffic() { return Take(traffic_).traffic(); }
  void Write(const v1::SubscribeResponse& response) { EXPECT_TRUE(stream_->Write(response)); }
  void End() { context_->TryCancel(); }
  // Waits until the stream has ended.
  void AwaitEnd() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(20), [&] { return ended_; }));
  }

  // Runs on the handler's thread until the stream ends.
  void ReadAll() {
    v1::SubscribeRequest request;
    while (stream_->Read(&request)) {
      std::lock_guard lock(mutex_);
      (request.has_traffic() ? traffic_ : requests_).push_back(request);
      changed_.notify_all();
    }
    std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }

 private:
  v1::SubscribeRequest Take(std::deque<v1::SubscribeRequest>& queue) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, std::chrono::seconds(20), [&] { return !queue.empty(); })) {
      ADD_FAILURE() << "no request came from the proxy";
      return {};
    }
    v1::SubscribeRequest request = queue.front();
    queue.pop_front();
    return request;
  }

  grpc::ServerContext* const context_;
  Stream* const stream_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<v1::SubscribeRequest> requests_;
  std::deque<v1::SubscribeRequest> traffic_;
  bool ended_ = false;
};

class FakeController final : private v1::DiscoveryService::Service {
 public:
  explicit FakeController(int port = 0) : port_(port) {
    grpc::ServerBuilder builder;
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.AddListeningPort(absl::StrCat("127.0.0.1:", port), grpc::InsecureServerCredentials(),
                             &port_);
    builder.SetMaxReceiveMessageSize(kMaxClientMessageBytes);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    EXPECT_NE(server_, nullptr);
  }
  ~FakeController() override {
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
  }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  int port() const { return port_; }

  // Returns the next subscription, which is valid until its stream ends and the controller is
  // destroyed.
  std::shared_ptr<Subscription> NextSubscription() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, std::chrono::seconds(20), [&] { return !waiting_.empty(); })) {
      ADD_FAILURE() << "no proxy subscribes";
      return nullptr;
    }
    auto subscription = waiting_.front();
    waiting_.pop_front();
    return subscription;
  }

 private:
  grpc::Status Subscribe(grpc::ServerContext* context, Subscription::Stream* stream) override {
    auto subscription = std::make_shared<Subscription>(context, stream);
    {
      std::lock_guard lock(mutex_);
      waiting_.push_back(subscription);
      changed_.notify_all();
    }
    subscription->ReadAll();
    return grpc::Status::OK;
  }

  int port_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Subscription>> waiting_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace trunkline::test
