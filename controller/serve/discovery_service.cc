#include "controller/serve/discovery_service.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/base/utf8.h"
#include "common/config/names.h"
#include "common/observe/log.h"
#include "common/observe/log_pacer.h"
#include "controller/core/control_core.h"
#include "controller/core/load_report.h"
#include "controller/core/proxy_table.h"
#include "controller/core/snapshot_publisher.h"
#include "controller/core/subscription.h"
#include "controller/serve/response_cache.h"
#include "controller/serve/server_stream.h"
#include "controller/wire/snapshot.h"
#include "trunkline/v1/discovery.pb.h"

namespace trunkline {
namespace {

using Reactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

// An epoch is a start time in seconds plus the number of crashes. One this far in the future cannot
// come from this controller.
constexpr absl::Duration kMaxEpochAhead = absl::Hours(24 * 366);
// Log lines and tables show this much of a proxy's error.
constexpr size_t kMaxErrorLength = 1000;

absl::Status CheckHello(const v1::Hello& hello) {
  absl::Status id = CheckName("hello.proxy_id", hello.proxy_id());
  if (!id.ok()) return id;
  const auto latest = static_cast<uint64_t>(absl::ToUnixSeconds(absl::Now() + kMaxEpochAhead));
  if (hello.have().epoch() > latest) {
    return absl::InvalidArgumentError(
        absl::StrCat("hello.have.epoch of proxy ", hello.proxy_id(),
                     ": expected an epoch of this controller, at most ", latest, "; got ",
                     hello.have().epoch(), "; remove the proxy's snapshot file"));
  }
  return absl::OkStatus();
}

ProxyTraffic::Endpoint ReadEndpoint(const v1::EndpointTraffic& endpoint) {
  ProxyTraffic::Endpoint read = {.key = {endpoint.service(), endpoint.endpoint_id()},
                                 .errors = endpoint.errors(),
                                 .ejected = endpoint.ejected(),
                                 .served = endpoint.served(),
                                 .unanswered = endpoint.unanswered(),
                                 .bytes = endpoint.bytes(),
                                 .load = endpoint.load()};
  if (endpoint.has_healthy()) read.healthy = endpoint.healthy();
  const double first_byte = endpoint.first_byte_seconds();
  if (endpoint.has_first_byte_seconds() && std::isfinite(first_byte) && first_byte >= 0) {
    read.first_byte = absl::Seconds(first_byte);
  }
  return read;
}

ProxyTraffic ReadTraffic(const v1::TrafficReport& report) {
  ProxyTraffic traffic;
  traffic.clients = report.clients();
  traffic.trunks = report.trunks();
  traffic.listeners_missing = std::string(Utf8Prefix(report.listeners_missing(), kMaxErrorLength));
  traffic.services_refused = std::string(Utf8Prefix(report.services_refused(), kMaxErrorLength));
  uint64_t flows = 0;
  const int endpoints = std::min(report.endpoints_size(), static_cast<int>(kMaxClusterEndpoints));
  for (int i = 0; i < endpoints; ++i) {
    const v1::EndpointTraffic& endpoint = report.endpoints(i);
    flows += endpoint.requests();
    traffic.endpoints.push_back(ReadEndpoint(endpoint));
  }
  const double seconds = report.seconds();
  if (std::isfinite(seconds) && seconds > 0) {
    traffic.seconds = seconds;
    traffic.flows_per_second = static_cast<double>(flows) / seconds;
  }
  return traffic;
}

class ProxyStream : public ServerStream<Reactor, grpc::ByteBuffer> {
 public:
  ProxyStream(StreamRegistry& registry, DiscoveryService& service)
      : ServerStream(registry), service_(service) {}

  void OnReadDone(bool ok) override {
    if (!ok) {
      End(absl::OkStatus());
      return;
    }
    if (absl::Status taken = Take(); !taken.ok()) {
      LogWarn("{}", std::string(taken.message()));
      End(taken);
      return;
    }
    ReadNext(&bytes_);
  }

 private:
  void OnOpen() override { ReadNext(&bytes_); }

  void OnClosed() override {
    if (proxy_id_.empty() || !service_.Exit(proxy_id_, this)) return;
    service_.proxies().Disconnect(proxy_id_, MonotonicNow());
    LogInfo("proxy {} disconnected", proxy_id_);
  }

  bool NextMessage(grpc::ByteBuffer* out) override {
    absl::MutexLock lock(&subscription_mutex_);
    return subscription_.has_value() && service_.NextResponse(*subscription_, out);
  }

  absl::Status Take() {
    if (!grpc::SerializationTraits<v1::SubscribeRequest>::Deserialize(&bytes_, &in_).ok()) {
      return absl::InvalidArgumentError(absl::StrCat("subscribe request",
                                                     proxy_id_.empty() ? "" : " of proxy ",
                                                     proxy_id_, ": not a valid message"));
    }
    if (proxy_id_.empty() != in_.has_hello()) {
      return absl::InvalidArgumentError(
          absl::StrCat("subscribe request", proxy_id_.empty() ? "" : " of proxy ", proxy_id_,
                       ": expected a hello as the first message, and only one"));
    }
    switch (in_.message_case()) {
      case v1::SubscribeRequest::kHello:
        return TakeHello(in_.hello());
      case v1::SubscribeRequest::kAck:
        TakeAck(in_.ack());
        return absl::OkStatus();
      case v1::SubscribeRequest::kTraffic:
        TakeTraffic(ReadTraffic(in_.traffic()));
        return absl::OkStatus();
      case v1::SubscribeRequest::MESSAGE_NOT_SET:
        break;
    }
    // A newer proxy may send other messages; ignore them.
    return absl::OkStatus();
  }

  absl::Status TakeHello(const v1::Hello& hello) {
    if (absl::Status status = CheckHello(hello); !status.ok()) return status;
    proxy_id_ = hello.proxy_id();
    const SnapshotVersion have = ReadSnapshotId(hello.have());
    service_.proxies().Connect(proxy_id_, std::string(Utf8Prefix(hello.version(), kMaxNameLength)),
                               hello.workers(), have, MonotonicNow());
    service_.Enter(proxy_id_, shared_from_this());
    LogInfo("proxy {} (version {}) subscribed; it holds snapshot {}/{}", proxy_id_, hello.version(),
            have.epoch, have.version);
    {
      absl::MutexLock lock(&subscription_mutex_);
      subscription_.emplace(have);
    }
    service_.loop().ProxyHolds(have);
    Pump();
    return absl::OkStatus();
  }

  void TakeTraffic(ProxyTraffic traffic) {
    const std::string refused = traffic.services_refused;
    const std::shared_ptr<const ControllerView> view = service_.loop().view();
    const auto knows = [&](const EndpointKey& key) { return view->Knows(key); };
    ProxyTable::TrafficChanges changes =
        service_.proxies().Traffic(proxy_id_, std::move(traffic), knows, MonotonicNow());
    service_.loop().Traffic(std::move(changes.known));
    for (const AgreedHealth& agreed : changes.agreed) service_.LogAgreed(agreed);
    if (!changes.services_refused) return;
    if (refused.empty()) {
      LogInfo("proxy {} can use all services again", proxy_id_);
    } else {
      LogWarn("proxy {} serves the snapshot without a part of it: {}", proxy_id_, refused);
    }
  }

  void TakeAck(const v1::Ack& ack) {
    const SnapshotVersion have = ReadSnapshotId(ack.have());
    Subscription::AckVerdict verdict;
    {
      absl::MutexLock lock(&subscription_mutex_);
      verdict = subscription_->OnAck(ack.nonce(), have, ack.has_error());
    }
    if (verdict == Subscription::AckVerdict::kIgnored) return;
    std::string error(Utf8Prefix(ack.error(), kMaxErrorLength));
    if (verdict == Subscription::AckVerdict::kRefused) {
      // An empty error in the table would look like an ACK.
      if (error.empty()) error = "the proxy gave no reason";
      LogWarn("proxy {} refused a snapshot and continues with {}/{}: {}", proxy_id_, have.epoch,
              have.version, error);
    }
    service_.proxies().Acked(proxy_id_, have, error, MonotonicNow());
    Pump();
  }

  DiscoveryService& service_;
  // Used only by gRPC's read callbacks, which do not overlap.
  grpc::ByteBuffer bytes_;
  v1::SubscribeRequest in_;
  std::string proxy_id_;

  absl::Mutex subscription_mutex_;
  std::optional<Subscription> subscription_ ABSL_GUARDED_BY(subscription_mutex_);
};

}  // namespace

DiscoveryService::DiscoveryService(ControlLoop& loop, ProxyTable& proxies)
    : loop_(loop), proxies_(proxies), streams_(kMaxStreams) {
  loop.Subscribe([this](const std::shared_ptr<const ControllerView>& view) { OnView(view); });
}

Reactor* DiscoveryService::Subscribe(grpc::CallbackServerContext*) {
  auto stream = std::make_shared<ProxyStream>(streams_, *this);
  stream->Open();
  return stream.get();
}

void DiscoveryService::LogAgreed(const AgreedHealth& agreed) {
  const EndpointKey& key = agreed.key;
  PeerLogPacer& log = agreed.unhealthy ? unhealthy_log_ : healthy_log_;
  const auto more = log.Admit(absl::StrCat(key.service, "/", key.endpoint_id), MonotonicNow());
  if (!more) return;
  if (agreed.unhealthy) {
    LogWarn(
        "all {} proxies that check endpoint {} of service {} find it unhealthy; they send it new "
        "flows only while no endpoint of the service is healthy; check its server{}",
        agreed.checked_by, key.endpoint_id, key.service, *more);
  } else if (agreed.checked_by == 0) {
    LogInfo("no proxy checks endpoint {} of service {} any more, which all had found unhealthy{}",
            key.endpoint_id, key.service, *more);
  } else {
    LogInfo("endpoint {} of service {} is healthy again for {} of the {} proxies that check it{}",
            key.endpoint_id, key.service, agreed.healthy_by, agreed.checked_by, *more);
  }
}

void DiscoveryService::OnView(const std::shared_ptr<const ControllerView>& view) {
  {
    absl::MutexLock lock(&mutex_);
    const bool settled = std::exchange(settling_, view->settling) && !settling_;
    if (view->snapshot == responses_.current() && !settled) return;
    responses_.SetCurrent(view->snapshot);
    history_ = view->history;
  }
  streams_.WakeAll();
}

void DiscoveryService::Enter(const std::string& proxy_id,
                             const std::shared_ptr<LiveStream>& stream) {
  std::shared_ptr<LiveStream> before;
  {
    absl::MutexLock lock(&mutex_);
    before = std::exchange(by_proxy_[proxy_id], stream).lock();
  }
  if (before == nullptr) return;
  before->End(
      absl::AbortedError(absl::StrCat("another stream of proxy ", proxy_id, " replaces this one")));
}

bool DiscoveryService::Exit(const std::string& proxy_id, const LiveStream* stream) {
  absl::MutexLock lock(&mutex_);
  auto entry = by_proxy_.find(proxy_id);
  if (entry == by_proxy_.end()) return false;
  const std::shared_ptr<LiveStream> serving = entry->second.lock();
  if (serving != nullptr && serving.get() != stream) return false;
  by_proxy_.erase(entry);
  return true;
}

bool DiscoveryService::NextResponse(Subscription& subscription, grpc::ByteBuffer* out) {
  absl::MutexLock lock(&mutex_);
  const std::shared_ptr<const ClusterSnapshot>& current = responses_.current();
  if (current == nullptr) return false;
  // Without stored state, the first snapshots lack the agents that are about to return.
  const SnapshotVersion have = subscription.have();
  if (settling_ && have != SnapshotVersion() && have.epoch != current->id.epoch) return false;
  const Subscription::Response next = subscription.Next(current, history_);
  switch (next.kind) {
    case Subscription::Kind::kNothing:
      return false;
    case Subscription::Kind::kUpToDate: {
      v1::SubscribeResponse content;
      WriteSnapshotId(current->id, content.mutable_up_to_date());
      *out = MakeResponse(next.nonce, grpc::Slice(content.SerializeAsString()));
      return true;
    }
    case Subscription::Kind::kDelta:
      *out = MakeResponse(next.nonce, responses_.DeltaFrom(*next.base));
      return true;
    case Subscription::Kind::kSnapshot:
      *out = MakeResponse(next.nonce, responses_.Whole());
      return true;
  }
  return false;
}

}  // namespace trunkline
