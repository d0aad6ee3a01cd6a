// The fleet of a benchmark of the controller: agents that report load, proxies that subscribe, and
// an operator who drains and undrains endpoints, in one process.
//
// Every agent has a stream of its own, announces itself and one endpoint, and reports once per
// second with a utilization that varies as a real one does; otherwise the controller would have
// nothing to send. Every proxy acknowledges each response at once and reports traffic once per
// second. Streams share connections. The operator sends one order at a time; it is everywhere when
// every proxy has received a snapshot that contains it.
//
// Prints "begin" when the measured time begins, then one line of JSON, and runs on until SIGTERM,
// so that the caller can read the controller's CPU time meanwhile.
#include <google/protobuf/io/coded_stream.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "trunkline/v1/admin.grpc.pb.h"
#include "trunkline/v1/discovery.pb.h"
#include "trunkline/v1/load_report.grpc.pb.h"

namespace trunkline {
namespace {

using Clock = std::chrono::steady_clock;
using google::protobuf::io::CodedInputStream;

struct Options {
  std::string controller;
  std::string service = "bench";
  uint32_t agents = 1000;
  uint32_t proxies = 10;
  // Proxies that report traffic to an endpoint.
  uint32_t reporters = 1;
  double seconds = 20;
  double settle_seconds = 5;
  double order_interval_seconds = 1.3;  // no multiple of the controller's tick
  uint32_t connections = 100;
  uint32_t seed = 1;
};

double Seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

// The channels that streams share, in turn.
class Channels {
 public:
  explicit Channels(const Options& options) {
    for (uint32_t i = 0; i < options.connections; ++i) {
      grpc::ChannelArguments arguments;
      arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
      arguments.SetMaxReceiveMessageSize(-1);
      channels_.push_back(grpc::CreateCustomChannel(options.controller,
                                                    grpc::InsecureChannelCredentials(), arguments));
    }
  }
  const std::shared_ptr<grpc::Channel>& Of(size_t i) const {
    return channels_[i % channels_.size()];
  }

 private:
  std::vector<std::shared_ptr<grpc::Channel>> channels_;
};

// A failure of one stream makes the figures wrong.
std::atomic<bool> stopping = false;
[[noreturn]] void Fail(const std::string& text) {
  std::cerr << text << std::endl;
  std::_Exit(1);
}

std::string EndpointId(size_t i) { return absl::StrCat("server-", 1'000'000 + i); }

class Agent final : public grpc::ClientBidiReactor<v1::ReportLoadRequest, v1::ReportLoadResponse> {
 public:
  Agent(const Options& options, size_t number, const std::shared_ptr<grpc::Channel>& channel)
      : number_(number),
        random_(options.seed + number),
        stub_(v1::LoadReportingService::NewStub(channel)) {
    std::uniform_real_distribution<double> unit(0, 1);
    mean_ = 0.3 + 0.4 * unit(random_);
    phase_ = 2 * M_PI * unit(random_);
    period_seconds_ = 60 + 60 * unit(random_);
    v1::AgentAnnouncement& announcement = *report_.mutable_announcement();
    announcement.set_agent_id(absl::StrCat("agent-", number));
    announcement.set_boot_id("boot");
    announcement.set_version("bench");
    announcement.set_trunk_address(Address());
    v1::EndpointAnnouncement& endpoint = *announcement.add_endpoints();
    endpoint.set_service(options.service);
    endpoint.set_endpoint_id(EndpointId(number));
    endpoint.set_cores(4);
    endpoint.set_server_boot_id("4711-1790000000");
    endpoint.set_server_address(Address());
    v1::EndpointLoad& load = *report_.add_endpoints();
    load.set_service(options.service);
    load.set_endpoint_id(EndpointId(number));
    load.set_cpu_source("cgroup v2");
    load.set_memory_utilization(0.4);
    load.mutable_pressure()->set_cpu(0.01);
    load.set_connections(40);
    load.set_active_streams(12);
    load.set_reachable(true);
    load.set_server_boot_id("4711-1790000000");
    load.set_cores(4);
    stub_->async()->ReportLoad(&context_, this);
    AddHold();
    Report(0);
    StartRead(&response_);
    StartCall();
  }

  // `now` in seconds since the start. Skips the report if the previous one is not sent yet.
  void Report(double now) {
    if (writing_.exchange(true)) {
      ++late;
      return;
    }
    // The load of an hour in some minutes, and 2 % noise of the sensor.
    const double load = mean_ * (1 + 0.2 * std::sin(phase_ + 2 * M_PI * now / period_seconds_));
    v1::EndpointLoad& item = *report_.mutable_endpoints(0);
    item.set_cpu_utilization(load * (1 + 0.02 * noise_(random_)));
    item.set_successes_per_second(100 * load);
    item.set_bytes_per_second(100'000 * load);
    report_.set_seq(report_.seq() + 1);
    StartWrite(&report_);
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return;
    report_.clear_announcement();
    writing_ = false;
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (!announced_.exchange(true)) ++accepted;
    StartRead(&response_);
  }
  void OnDone(const grpc::Status& status) override {
    if (!stopping) Fail(absl::StrCat("agent ", number_, ": ", status.error_message()));
  }

  inline static std::atomic<uint64_t> accepted = 0;
  inline static std::atomic<uint64_t> late = 0;

 private:
  std::string Address() const {
    return absl::StrCat("10.", number_ >> 16 & 255, ".", number_ >> 8 & 255, ".", number_ & 255,
                        ":7073");
  }

  const size_t number_;
  std::mt19937 random_;
  std::normal_distribution<double> noise_;
  double mean_ = 0;
  double phase_ = 0;
  double period_seconds_ = 0;
  const std::unique_ptr<v1::LoadReportingService::Stub> stub_;
  grpc::ClientContext context_;
  v1::ReportLoadRequest report_;
  v1::ReportLoadResponse response_;
  std::atomic<bool> writing_ = false;
  std::atomic<bool> announced_ = false;
};

// The nonce of a response and the version that a proxy has after it. Reads no endpoints, because
// decoding everything for each of the proxies would need more than a core.
struct ResponseHeader {
  uint64_t nonce = 0;
  v1::SnapshotId id;
  bool whole = false;
};

ResponseHeader ReadHeader(const grpc::ByteBuffer& bytes) {
  std::vector<grpc::Slice> slices;
  if (!bytes.Dump(&slices).ok()) Fail("a response cannot be read");
  std::string head;
  for (const grpc::Slice& slice : slices) {
    head.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
    if (head.size() >= 128) break;
  }
  CodedInputStream in(reinterpret_cast<const uint8_t*>(head.data()), static_cast<int>(head.size()));
  ResponseHeader header;
  while (const uint32_t tag = in.ReadTag()) {
    const uint32_t field = tag >> 3;
    if (field == v1::SubscribeResponse::kNonceFieldNumber) {
      if (!in.ReadVarint64(&header.nonce)) break;
      continue;
    }
    uint32_t size = 0;
    if (!in.ReadVarint32(&size)) break;
    header.whole = field == v1::SubscribeResponse::kSnapshotFieldNumber;
    const bool bare = field == v1::SubscribeResponse::kUpToDateFieldNumber;
    // A snapshot begins with its id, a delta with its base and its id.
    const int ids = bare ? 0 : header.whole ? 1 : 2;
    for (int i = 0; i < ids; ++i) {
      if (in.ReadTag() == 0 || !in.ReadVarint32(&size)) Fail("a response has no id");
      std::string id;
      if (!in.ReadString(&id, static_cast<int>(size)) || !header.id.ParseFromString(id)) {
        Fail("a response has no id");
      }
    }
    if (bare) {
      std::string id;
      if (!in.ReadString(&id, static_cast<int>(size))) Fail("a response has no id");
      header.id.ParseFromString(id);
    }
    return header;
  }
  Fail("a response carries nothing");
}

class Proxy final : public grpc::ClientBidiReactor<v1::SubscribeRequest, grpc::ByteBuffer> {
 public:
  Proxy(const Options& options, size_t number, const std::shared_ptr<grpc::Channel>& channel)
      : options_(options), number_(number), stub_(channel) {
    stub_.PrepareBidiStreamingCall(&context_, "/trunkline.v1.DiscoveryService/Subscribe", {}, this);
    AddHold();
    StartRead(&response_);
    request_.mutable_hello()->set_proxy_id(absl::StrCat("proxy-", number));
    request_.mutable_hello()->set_version("bench");
    request_.mutable_hello()->set_workers(1);
    StartWrite(&request_);
    StartCall();
  }

  void ReportTraffic() {
    const std::lock_guard lock(mutex_);
    traffic_due_ = true;
    WriteNext();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    const ResponseHeader header = ReadHeader(response_);
    bytes += response_.Length() + 5;  // and the prefix that gRPC gives each message
    ++(header.whole ? wholes : deltas);
    version = header.id.version();
    response_.Clear();
    {
      const std::lock_guard lock(mutex_);
      ack_.set_nonce(header.nonce);
      *ack_.mutable_have() = header.id;
      ack_due_ = true;
      WriteNext();
    }
    StartRead(&response_);
  }
  void OnWriteDone(bool ok) override {
    if (!ok) return;
    const std::lock_guard lock(mutex_);
    writing_ = false;
    WriteNext();
  }
  void OnDone(const grpc::Status& status) override {
    if (!stopping) Fail(absl::StrCat("proxy ", number_, ": ", status.error_message()));
  }

  std::atomic<uint64_t> version = 0;
  inline static std::atomic<uint64_t> bytes = 0;
  inline static std::atomic<uint64_t> deltas = 0;
  inline static std::atomic<uint64_t> wholes = 0;

 private:
  void WriteNext() {
    if (writing_ || (!ack_due_ && !traffic_due_)) return;
    writing_ = true;
    request_.Clear();
    if (std::exchange(ack_due_, false)) {
      *request_.mutable_ack() = ack_;
    } else {
      traffic_due_ = false;
      MakeTraffic(*request_.mutable_traffic());
    }
    StartWrite(&request_);
  }

  void MakeTraffic(v1::TrafficReport& report) const {
    report.set_seconds(1);
    report.set_clients(1000);
    report.set_trunks(options_.agents);
    for (size_t shift = 0; shift < std::min(options_.reporters, options_.proxies); ++shift) {
      size_t i = (number_ + shift) % options_.proxies;
      for (; i < options_.agents; i += options_.proxies) {
        v1::EndpointTraffic& item = *report.add_endpoints();
        item.set_service(options_.service);
        item.set_endpoint_id(EndpointId(i));
        item.set_requests(50);
        item.set_served(50);
        item.set_bytes(50'000);
        item.set_active(5);
        item.set_load(5);
        item.set_connect_seconds(0.001);
        item.set_first_byte_seconds(0.01);
      }
    }
  }

  const Options& options_;
  const size_t number_;
  grpc::TemplatedGenericStub<v1::SubscribeRequest, grpc::ByteBuffer> stub_;
  grpc::ClientContext context_;
  grpc::ByteBuffer response_;
  std::mutex mutex_;
  v1::SubscribeRequest request_;
  v1::Ack ack_;
  bool writing_ = true;  // the hello
  bool ack_due_ = false;
  bool traffic_due_ = false;
};

class Fleet {
 public:
  explicit Fleet(const Options& options)
      : options_(options), channels_(options), began_(Clock::now()) {
    agents_.reserve(options.agents);
    proxies_.reserve(options.proxies);
    ticker_ = std::thread([this] { Tick(); });
    for (size_t i = 0; i < options.agents; ++i) {
      agents_.push_back(std::make_unique<Agent>(options, i, channels_.Of(i)));
      agents_here_ = agents_.size();
      // A thousand streams per second and more, as after a restart of the controller.
      if (i % 100 == 99) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    while (Agent::accepted < options.agents) Nap();
    for (size_t i = 0; i < options.proxies; ++i) {
      proxies_.push_back(std::make_unique<Proxy>(options, i, channels_.Of(i)));
      proxies_here_ = proxies_.size();
    }
    while (LowestVersion() == 0) Nap();
  }

  void Measure() {
    Sleep(options_.settle_seconds);
    std::puts("begin");
    std::fflush(stdout);
    const uint64_t bytes = Proxy::bytes, deltas = Proxy::deltas, wholes = Proxy::wholes;
    const uint64_t late = Agent::late;
    const Clock::time_point began = Clock::now();
    std::vector<double> orders;
    for (size_t i = 0; Seconds(Clock::now() - began) < options_.seconds; ++i) {
      orders.push_back(Order(i));
      Sleep(std::max(0.1, options_.order_interval_seconds - orders.back()));
    }
    const double took = Seconds(Clock::now() - began);
    std::sort(orders.begin(), orders.end());
    const auto quantile = [&](double q) {
      return orders[std::min(orders.size() - 1, static_cast<size_t>(q * orders.size()))];
    };
    const double per_proxy = 1.0 / std::max(1u, options_.proxies) / took;
    std::puts(absl::StrFormat("{\"seconds\": %.3f, \"bytes_per_second_per_proxy\": %.0f, "
                              "\"deltas_per_second_per_proxy\": %.2f, \"wholes\": %u, "
                              "\"late_reports\": %u, \"orders\": %u, \"order_p50_s\": %.4f, "
                              "\"order_p99_s\": %.4f, \"order_max_s\": %.4f}",
                              took, (Proxy::bytes - bytes) * per_proxy,
                              (Proxy::deltas - deltas) * per_proxy, Proxy::wholes - wholes,
                              Agent::late - late, orders.size(), quantile(0.5), quantile(0.99),
                              orders.back())
                  .c_str());
    std::fflush(stdout);
  }

 private:
  static void Nap() { std::this_thread::sleep_for(std::chrono::milliseconds(1)); }
  static void Sleep(double seconds) {
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  }

  // Reports are spread evenly over each second.
  void Tick() {
    constexpr size_t kSlots = 100;
    for (size_t slot = 0; !stopping; slot = (slot + 1) % kSlots) {
      const Clock::time_point next = Clock::now() + std::chrono::milliseconds(1000 / kSlots);
      const double now = Seconds(Clock::now() - began_);
      for (size_t i = slot; i < agents_here_; i += kSlots) agents_[i]->Report(now);
      for (size_t i = slot; i < proxies_here_; i += kSlots) proxies_[i]->ReportTraffic();
      std::this_thread::sleep_until(next);
    }
  }

  uint64_t LowestVersion() const {
    uint64_t lowest = UINT64_MAX;
    for (const auto& proxy : proxies_) lowest = std::min<uint64_t>(lowest, proxy->version);
    return lowest;
  }

  // Seconds until an order is at every proxy.
  double Order(size_t i) {
    const auto stub = v1::AdminService::NewStub(channels_.Of(0));
    grpc::ClientContext context;
    const Clock::time_point began = Clock::now();
    uint64_t version = 0;
    grpc::Status status;
    const std::string endpoint = EndpointId(i / 2 * 7919 % options_.agents);
    if (i % 2 == 0) {
      v1::DrainRequest request;
      request.set_service(options_.service);
      request.set_endpoint_id(endpoint);
      v1::DrainResponse response;
      status = stub->Drain(&context, request, &response);
      version = response.snapshot_id().version();
    } else {
      v1::UndrainRequest request;
      request.set_service(options_.service);
      request.set_endpoint_id(endpoint);
      v1::UndrainResponse response;
      status = stub->Undrain(&context, request, &response);
      version = response.snapshot_id().version();
    }
    if (!status.ok()) Fail(absl::StrCat("order: ", status.error_message()));
    while (LowestVersion() < version) Nap();
    return Seconds(Clock::now() - began);
  }

  const Options options_;
  const Channels channels_;
  const Clock::time_point began_;
  // Never reallocated, because the ticker reads those that are here.
  std::vector<std::unique_ptr<Agent>> agents_;
  std::vector<std::unique_ptr<Proxy>> proxies_;
  std::atomic<size_t> agents_here_ = 0;
  std::atomic<size_t> proxies_here_ = 0;
  std::thread ticker_;
};

}  // namespace
}  // namespace trunkline

int main(int argc, char** argv) {
  trunkline::Options options;
  CLI::App app("Plays the agents, proxies and operator of a fleet");
  app.add_option("--controller", options.controller, "Its gRPC address")->required();
  app.add_option("--service", options.service, "The service of all endpoints");
  app.add_option("--agents", options.agents, "Agents, with an endpoint each");
  app.add_option("--proxies", options.proxies, "Subscribed proxies");
  app.add_option("--reporters", options.reporters, "Proxies that report traffic to an endpoint");
  app.add_option("--seconds", options.seconds, "Measured seconds");
  app.add_option("--settle", options.settle_seconds, "Seconds between the last join and these");
  app.add_option("--connections", options.connections, "Connections that all streams share");
  CLI11_PARSE(app, argc, argv);
  // Blocked in all threads, so that sigwait gets it.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  trunkline::Fleet fleet(options);
  fleet.Measure();
  int signal = 0;
  sigwait(&signals, &signal);
  // Thousands of streams would take seconds to end in order.
  std::_Exit(0);
}
