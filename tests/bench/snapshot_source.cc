// The controller of a benchmark: serves proxies one service of many endpoints and changes all
// weights repeatedly, as the real controller does.
#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/number_units.h"
#include "trunkline/v1/discovery.grpc.pb.h"

namespace trunkline {
namespace {

struct Options {
  std::string listen;
  std::string service_listen;
  std::string mode = "tunnel";
  uint32_t endpoints = 100;
  std::vector<uint32_t> endpoint_ports;  // in turn; each endpoint has a host of its own
  uint32_t interval_ms = 500;
};

// Host i of 127.1.0.0/16 and the networks after it.
std::string LoopbackHost(uint32_t i) {
  constexpr uint32_t kFirst = 1 << 16;
  const uint32_t host = kFirst + 1 + i;
  return absl::StrCat("127.", host >> 16 & 255, ".", host >> 8 & 255, ".", host & 255);
}

// A weight of three digits from 0.5 to 1.5, different in each version.
uint32_t WeightUnits(uint64_t i, uint64_t version) {
  constexpr uint64_t kSteps = 1000;
  return static_cast<uint32_t>(5000 + 10 * ((i * 7919 + version * 104729) % kSteps));
}

v1::Service MakeService(const Options& options, uint64_t version) {
  v1::Service service;
  service.set_name("bench");
  service.set_mode(options.mode == "tunnel" ? v1::FORWARDING_MODE_TUNNEL
                                            : v1::FORWARDING_MODE_DIRECT);
  service.mutable_listener()->add_address(options.service_listen);
  for (uint32_t i = 0; i < options.endpoints; ++i) {
    v1::Endpoint& endpoint = *service.add_endpoints();
    endpoint.set_endpoint_id(absl::StrCat("server-", 1'000'000 + i));
    endpoint.set_address(absl::StrCat(LoopbackHost(i), ":",
                                      options.endpoint_ports[i % options.endpoint_ports.size()]));
    endpoint.set_weight(WeightUnits(i, version) / kNumberUnits);
    endpoint.set_capacity(1);
  }
  return service;
}

class Source final : public v1::DiscoveryService::Service {
 public:
  explicit Source(Options options) : options_(std::move(options)) {}

 private:
  using Stream = grpc::ServerReaderWriter<v1::SubscribeResponse, v1::SubscribeRequest>;

  grpc::Status Subscribe(grpc::ServerContext* context, Stream* stream) override {
    std::mutex mutex;
    std::condition_variable changed;
    uint64_t acknowledged = 0;  // guarded by mutex, as is `ended`
    bool ended = false;
    std::thread reader([&] {
      v1::SubscribeRequest request;
      while (stream->Read(&request)) {
        if (!request.has_ack()) continue;
        if (!request.ack().error().empty()) std::cerr << request.ack().error() << "\n";
        const std::lock_guard lock(mutex);
        acknowledged = request.ack().nonce();
        changed.notify_one();
      }
      const std::lock_guard lock(mutex);
      ended = true;
      changed.notify_one();
    });
    auto next = std::chrono::steady_clock::now();
    for (uint64_t version = 1; stream->Write(MakeResponse(version)); ++version) {
      next += std::chrono::milliseconds(options_.interval_ms);
      std::unique_lock lock(mutex);
      changed.wait_until(lock, next, [&] { return ended; });
      // The protocol allows the next response only after the acknowledgement of this one.
      changed.wait(lock, [&] { return ended || acknowledged >= version; });
      if (ended) break;
    }
    context->TryCancel();
    reader.join();
    return grpc::Status::OK;
  }

  v1::SubscribeResponse MakeResponse(uint64_t version) const {
    v1::SubscribeResponse response;
    response.set_nonce(version);
    const auto set_id = [](v1::SnapshotId& id, uint64_t number) {
      id.set_epoch(1);
      id.set_version(number);
    };
    if (version == 1) {
      set_id(*response.mutable_snapshot()->mutable_id(), version);
      *response.mutable_snapshot()->add_services() = MakeService(options_, version);
    } else {
      set_id(*response.mutable_delta()->mutable_base(), version - 1);
      set_id(*response.mutable_delta()->mutable_id(), version);
      v1::ServiceDelta& service = *response.mutable_delta()->add_changed_services();
      service.set_name("bench");
      for (uint32_t i = 0; i < options_.endpoints; ++i) {
        service.mutable_weights()->add_skipped(0);
        service.mutable_weights()->add_values(WeightUnits(i, version));
      }
    }
    return response;
  }

  const Options options_;
};

int Run(const Options& options) {
  Source source(options);
  grpc::ServerBuilder builder;
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  int port = 0;
  builder.AddListeningPort(options.listen, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&source);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    std::cerr << "cannot listen on " << options.listen << "\n";
    return 1;
  }
  server->Wait();
  return 0;
}

}  // namespace
}  // namespace trunkline

int main(int argc, char** argv) {
  trunkline::Options options;
  CLI::App app("Plays a controller that moves the weights of many endpoints");
  app.add_option("--listen", options.listen, "Its gRPC address")->required();
  app.add_option("--service-listen", options.service_listen, "Where the proxy listens")->required();
  app.add_option("--mode", options.mode, "tunnel or direct");
  app.add_option("--endpoints", options.endpoints, "Endpoints of the service");
  app.add_option("--endpoint-port", options.endpoint_ports, "Ports of the endpoints, in turn")
      ->required();
  app.add_option("--interval-ms", options.interval_ms, "Time between two snapshots");
  CLI11_PARSE(app, argc, argv);
  return trunkline::Run(options);
}
