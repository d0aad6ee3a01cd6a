// Serves proxies' streams: sends snapshots, receives ACKs and traffic reports.
//
// Subscription decides on each response; this is the transport. It exchanges bytes, because
// ResponseCache serializes a response once, whatever the number of proxies.
//
// Thread-safe (gRPC's callback API). Borrows the loop and the table, which outlive it. Call
// Shutdown() before the server's.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/observe/log_pacer.h"
#include "controller/core/proxy_table.h"
#include "controller/core/subscription.h"
#include "controller/loop/control_loop.h"
#include "controller/serve/response_cache.h"
#include "controller/serve/server_stream.h"
#include "trunkline/v1/discovery.grpc.pb.h"

namespace trunkline {

class DiscoveryService
    : public v1::DiscoveryService::WithRawCallbackMethod_Subscribe<v1::DiscoveryService::Service> {
 public:
  static constexpr size_t kMaxStreams = ProxyTable::kMaxProxies;

  // Subscribes to the loop; construct before its Start().
  DiscoveryService(ControlLoop& loop, ProxyTable& proxies);

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Subscribe(
      grpc::CallbackServerContext* context) override;

  void Shutdown() { streams_.EndAll(absl::UnavailableError("the controller is stopping")); }

  // For the streams.
  ControlLoop& loop() { return loop_; }
  ProxyTable& proxies() { return proxies_; }
  // Makes `stream` the proxy's stream and ends the previous one.
  void Enter(const std::string& proxy_id, const std::shared_ptr<LiveStream>& stream);
  // Returns true if `stream` was the proxy's stream, and forgets it.
  bool Exit(const std::string& proxy_id, const LiveStream* stream);
  // Logs it, paced for each endpoint.
  void LogAgreed(const AgreedHealth& agreed);
  // Fills in the next response of `subscription`. Returns false if there is none.
  bool NextResponse(Subscription& subscription, grpc::ByteBuffer* out);

 private:
  void OnView(const std::shared_ptr<const ControllerView>& view);

  ControlLoop& loop_;
  ProxyTable& proxies_;
  StreamRegistry streams_;
  PeerLogPacer unhealthy_log_;
  PeerLogPacer healthy_log_;

  absl::Mutex mutex_;
  std::map<std::string, std::weak_ptr<LiveStream>> by_proxy_ ABSL_GUARDED_BY(mutex_);
  ResponseCache responses_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::shared_ptr<const ClusterSnapshot>> history_ ABSL_GUARDED_BY(mutex_);
  bool settling_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace trunkline
