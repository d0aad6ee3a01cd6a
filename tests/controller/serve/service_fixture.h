// A whole controller in the test process on a free port, and clients that send one message at a
// time.
//
// Tests wait by reading a stream or for a count, not for a time; the deadline exceeds any delay of
// a working controller.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "controller/core/proxy_table.h"
#include "controller/loop/control_loop.h"
#include "controller/serve/grpc_server.h"
#include "tests/controller/core/core_fixture.h"
#include "trunkline/v1/admin.grpc.pb.h"
#include "trunkline/v1/discovery.grpc.pb.h"
#include "trunkline/v1/load_report.grpc.pb.h"
#include "trunkline/v1/weights.grpc.pb.h"

namespace trunkline {

constexpr std::chrono::seconds kPatience{20};

inline std::chrono::system_clock::time_point Deadline() {
  return std::chrono::system_clock::now() + kPatience;
}

// One agent with one endpoint of service "db", whose id is that of the agent.
class TestAgent {
 public:
  TestAgent(const std::shared_ptr<grpc::Channel>& channel, std::string id)
      : id_(std::move(id)), stub_(v1::LoadReportingService::NewStub(channel)) {
    context_.set_deadline(Deadline());
    stream_ = stub_->ReportLoad(&context_);
  }

  v1::ReportLoadRequest Announcement(const std::string& service = "db",
                                     const std::string& boot = "boot-1") const {
    v1::ReportLoadRequest report;
    v1::AgentAnnouncement* announcement = report.mutable_announcement();
    announcement->set_agent_id(id_);
    announcement->set_boot_id(boot);
    announcement->set_version("test");
    announcement->set_trunk_address(TrunkAddress(id_));
    v1::EndpointAnnouncement* endpoint = announcement->add_endpoints();
    endpoint->set_service(service);
    endpoint->set_endpoint_id(id_);
    endpoint->set_cores(1);
    return report;
  }
  v1::ReportLoadRequest WithLoad(v1::ReportLoadRequest report, double cpu, double successes = 100) {
    report.set_seq(++seq_);
    v1::EndpointLoad* load = report.add_endpoints();
    load->set_service("db");
    load->set_endpoint_id(id_);
    load->set_cpu_utilization(cpu);
    load->set_cpu_source("host");
    load->set_successes_per_second(successes);
    load->set_reachable(true);
    return report;
  }

  bool Write(const v1::ReportLoadRequest& report) { return stream_->Write(report); }
  // Announces and reports once, and returns the response.
  v1::ReportLoadResponse Join(double cpu = 0.5) {
    EXPECT_TRUE(Write(WithLoad(Announcement(), cpu)));
    return NextDirective();
  }
  bool Say(double cpu, double successes = 100) { return Write(WithLoad({}, cpu, successes)); }
  v1::ReportLoadResponse NextDirective() {
    v1::ReportLoadResponse directive;
    EXPECT_TRUE(stream_->Read(&directive)) << "the stream of " << id_ << " ended";
    return directive;
  }
  void HalfClose() { stream_->WritesDone(); }
  // Cancels the stream, without an orderly end.
  void Break() {
    context_.TryCancel();
    stream_->Finish();
    finished_ = true;
  }
  // Reads to the end of the stream and returns its status.
  grpc::Status Status() {
    v1::ReportLoadResponse directive;
    while (stream_->Read(&directive)) {
    }
    finished_ = true;
    return stream_->Finish();
  }
  ~TestAgent() {
    if (!finished_) Break();
  }

 private:
  const std::string id_;
  std::unique_ptr<v1::LoadReportingService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::ReportLoadRequest, v1::ReportLoadResponse>> stream_;
  uint64_t seq_ = 0;
  bool finished_ = false;
};

class TestProxy {
 public:
  explicit TestProxy(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(v1::DiscoveryService::NewStub(channel)) {
    context_.set_deadline(Deadline());
    stream_ = stub_->Subscribe(&context_);
  }

  void Hello(const std::string& id, uint64_t epoch = 0, uint64_t version = 0) {
    v1::SubscribeRequest request;
    request.mutable_hello()->set_proxy_id(id);
    request.mutable_hello()->set_version("test");
    request.mutable_hello()->set_workers(2);
    request.mutable_hello()->mutable_have()->set_epoch(epoch);
    request.mutable_hello()->mutable_have()->set_version(version);
    EXPECT_TRUE(stream_->Write(request));
  }
  v1::SubscribeResponse Next() {
    v1::SubscribeResponse response;
    EXPECT_TRUE(stream_->Read(&response)) << "the subscription ended";
    return response;
  }
  void Ack(const v1::SubscribeResponse& response) {
    Ack(response.nonce(), response.has_delta() ? response.delta().id() : response.snapshot().id(),
        std::nullopt);
  }
  // Sends a NACK if there is an error.
  void Ack(uint64_t nonce, const v1::SnapshotId& have, const std::optional<std::string>& error) {
    v1::SubscribeRequest request;
    request.mutable_ack()->set_nonce(nonce);
    *request.mutable_ack()->mutable_have() = have;
    if (error) request.mutable_ack()->set_error(*error);
    EXPECT_TRUE(stream_->Write(request));
  }
  void Traffic(const v1::TrafficReport& traffic) {
    v1::SubscribeRequest request;
    *request.mutable_traffic() = traffic;
    EXPECT_TRUE(stream_->Write(request));
  }
  // Returns the number of responses until the subscription ends.
  int CountToEnd() {
    int count = 0;
    v1::SubscribeResponse response;
    while (stream_->Read(&response)) ++count;
    return count;
  }
  bool Write(const v1::SubscribeRequest& request) { return stream_->Write(request); }
  void HalfClose() { stream_->WritesDone(); }
  grpc::Status Status() {
    v1::SubscribeResponse response;
    while (stream_->Read(&response)) {
    }
    finished_ = true;
    return stream_->Finish();
  }
  ~TestProxy() {
    if (finished_) return;
    context_.TryCancel();
    stream_->Finish();
  }

 private:
  std::unique_ptr<v1::DiscoveryService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::SubscribeRequest, v1::SubscribeResponse>> stream_;
  bool finished_ = false;
};

class ServiceTest : public testing::Test {
 protected:
  ServiceTest() { StartController(); }
  ~ServiceTest() override { StopController(); }

  void StartController() {
    ControlLoop::Options options;
    options.core.services = services_;
    options.core.report_interval = report_interval_;
    options.core.first = first_;
    options.core.stored = stored_;
    options.core.agents_return = agents_return_;
    options.tick_interval = absl::Milliseconds(50);
    options.store = store_.get();
    proxies_ = std::make_unique<ProxyTable>();
    loop_ = std::make_unique<ControlLoop>(options);
    server_ = std::make_unique<GrpcServer>(*loop_, *proxies_);
    ASSERT_TRUE(server_->Start("127.0.0.1:0").ok());
    ASSERT_TRUE(loop_->Start().ok());
    channel_ = NewChannel();
    weights_ = v1::WeightService::NewStub(channel_);
    admin_ = v1::AdminService::NewStub(channel_);
  }
  void StopController() {
    if (server_ == nullptr) return;
    server_->Shutdown();
    loop_->Stop();
    server_.reset();
    loop_.reset();
  }

  std::shared_ptr<grpc::Channel> NewChannel() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(server_->port()),
                                     grpc::InsecureChannelCredentials(), arguments);
  }

  // Names an endpoint of service "db" in a request that has such fields.
  template <typename Request>
  static Request Named(const std::string& id) {
    Request request;
    request.set_service("db");
    request.set_endpoint_id(id);
    return request;
  }
  v1::WeightTable GetWeights(const std::string& service = "") {
    grpc::ClientContext context;
    context.set_deadline(Deadline());
    v1::GetWeightsRequest request;
    request.set_service(service);
    v1::GetWeightsResponse response;
    const grpc::Status status = weights_->GetWeights(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.table();
  }

  // Watches the weights until `holds` returns true, and returns that table.
  v1::WeightTable WaitFor(const std::function<bool(const v1::WeightTable&)>& holds) {
    grpc::ClientContext context;
    context.set_deadline(Deadline());
    auto stream = weights_->WatchWeights(&context, v1::WatchWeightsRequest());
    v1::WatchWeightsResponse response;
    bool found = false;
    while (!found && stream->Read(&response)) found = holds(response.table());
    EXPECT_TRUE(found) << "last seen: " << response.ShortDebugString();
    context.TryCancel();
    stream->Finish();
    return response.table();
  }
  // Polls for a condition that no weight table shows. Returns false after the deadline.
  static bool Eventually(const std::function<bool()>& condition) {
    const auto deadline = Deadline();
    while (!condition()) {
      if (std::chrono::system_clock::now() > deadline) return false;
      poll(nullptr, 0, 1);
    }
    return true;
  }
  static const v1::EndpointWeight* Find(const v1::WeightTable& table, const std::string& id) {
    for (const v1::ServiceWeights& service : table.services()) {
      for (const v1::EndpointWeight& endpoint : service.endpoints()) {
        if (endpoint.endpoint_id() == id) return &endpoint;
      }
    }
    return nullptr;
  }
  void WaitForState(const std::string& id, v1::EndpointState state) {
    WaitFor([&](const v1::WeightTable& table) {
      const v1::EndpointWeight* endpoint = Find(table, id);
      return endpoint != nullptr && endpoint->state() == state;
    });
  }
  void WaitUntilGone(const std::string& id) {
    WaitFor([&](const v1::WeightTable& table) { return Find(table, id) == nullptr; });
  }
  grpc::Status Drain(const std::string& id, v1::DrainResponse* response = nullptr) {
    grpc::ClientContext context;
    context.set_deadline(Deadline());
    v1::DrainResponse unused;
    return admin_->Drain(&context, Named<v1::DrainRequest>(id),
                         response != nullptr ? response : &unused);
  }

  std::vector<ServiceSpec> services_ = {Service("db")};
  // Long, so that nothing ages on a busy machine.
  absl::Duration report_interval_ = absl::Seconds(30);
  SnapshotVersion first_ = {1000, 1};
  std::optional<StoredState> stored_;
  absl::Duration agents_return_;
  std::unique_ptr<StateStore> store_;
  std::unique_ptr<ProxyTable> proxies_;
  std::unique_ptr<ControlLoop> loop_;
  std::unique_ptr<GrpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::WeightService::Stub> weights_;
  std::unique_ptr<v1::AdminService::Stub> admin_;
};

}  // namespace trunkline
