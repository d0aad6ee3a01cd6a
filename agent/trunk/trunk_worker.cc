#include "agent/trunk/trunk_worker.h"

#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "agent/sample/local_service.h"
#include "agent/sample/service_traffic.h"
#include "agent/trunk/load_pacer.h"
#include "agent/trunk/local_connection.h"
#include "common/base/absl_view.h"
#include "common/base/check.h"
#include "common/base/unique_fd.h"
#include "common/http2/header_list.h"
#include "common/http2/http2_session.h"
#include "common/net/event_loop.h"
#include "common/net/socket.h"
#include "common/net/timer_wheel.h"
#include "common/observe/log.h"
#include "common/proxy_protocol/proxy_header.h"
#include "common/proxy_protocol/proxy_version.h"
#include "common/trunk/client_fields.h"
#include "common/trunk/stream_bridge.h"

namespace trunkline {
namespace {

// Trunks of one worker. A proxy worker opens a few per agent, so no sane cluster comes close.
constexpr size_t kMaxTrunks = 4096;
constexpr absl::Duration kAcceptPause = absl::Milliseconds(100);
constexpr absl::Duration kShortageWarningInterval = absl::Seconds(10);
constexpr int kStatusUnknownService = 404;
// Below the agent's own niceness; at -10 its passes got so short that p99 grew.
constexpr int kNicenessBelowOwn = 4;
// Refusals of a load stream: the trunk has one already, or is draining.
constexpr int kStatusTooMany = 429;
constexpr int kStatusDraining = 503;

// Every flow of a server waits for the calling thread twice and for the server's threads once, so
// the calling thread gets priority over them. Without the right (CAP_SYS_NICE, RLIMIT_NICE) it
// keeps its niceness.
void RaisePriority() {
  // On Linux this affects only the calling thread and the threads that it starts.
  errno = 0;
  const int own = getpriority(PRIO_PROCESS, 0);
  if (errno == 0) setpriority(PRIO_PROCESS, 0, own - kNicenessBelowOwn);
}

std::string_view HostOf(std::string_view authority) {
  return authority.substr(0, authority.rfind(':'));
}

// The PROXY protocol header for the server; empty if neither the agent nor the stream asks for one.
std::string ProxyHeaderFor(const LocalService& service, const ConnectFields& fields) {
  const ClientDescription client = ReadClient(fields);
  const bool always = service.proxy_protocol != ProxyVersion::kNone;
  return WriteProxyHeader(always ? service.proxy_protocol : client.version, client.addresses);
}

}  // namespace

class TrunkWorker::Acceptor final : public EventHandler {
 public:
  Acceptor(TrunkWorker* worker, UniqueFd listener)
      : worker_(worker), listener_(std::move(listener)) {
    Watch(EPOLLIN);
  }

  void OnEvents(uint32_t) override {
    if (!worker_->accepting_) return;
    const bool full = worker_->trunks_.size() >= kMaxTrunks;
    UniqueFd fd;
    if (!full) fd.Reset(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd) {
      worker_->OnAccepted(std::move(fd));
    } else if (full || (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)) {
      // Peers wait in the kernel's accept queue.
      worker_->WarnOfShortage(absl::ResourceExhaustedError(
          full ? absl::StrCat(
                     "all ", kMaxTrunks,
                     " trunks of a thread are in use, so no more are accepted; raise workers")
               : absl::StrCat("no trunk can be accepted: ", ErrorText(errno))));
      Watch(0);
      worker_->loop_.Arm(pause_timer_, kAcceptPause);
    }
  }

 private:
  void Resume() { Watch(EPOLLIN); }
  void Watch(uint32_t events) {
    const absl::Status watched = worker_->loop_.AddOrModify(listener_.get(), events, this);
    if (watched.ok()) {
      if (std::exchange(is_unwatched_, false)) LogInfo("the worker accepts trunks again");
      return;
    }
    worker_->loop_.Arm(pause_timer_, kAcceptPause);
    if (std::exchange(is_unwatched_, true)) return;
    LogError(
        "a worker accepts no trunks, because epoll cannot watch its listening socket: {}; "
        "trying again",
        StdView(watched.message()));
  }

  TrunkWorker* const worker_;
  const UniqueFd listener_;
  bool is_unwatched_ = false;
  MemberTimer<Acceptor, &Acceptor::Resume> pause_timer_{this};
};

TrunkWorker::TrunkWorker(Options options, UniqueFd listener,
                         const std::vector<LocalService>& services,
                         const std::vector<Target>& targets, TrafficTable& traffic)
    : options_(options), services_(services), targets_(targets), traffic_(traffic) {
  acceptor_ = std::make_unique<Acceptor>(this, std::move(listener));
  thread_ = std::thread([this] {
    RaisePriority();
    loop_.Run();
  });
}

TrunkWorker::~TrunkWorker() {
  loop_.Post([this] {
    StopAccepting();
    while (!trunks_.empty()) trunks_.back()->Close(absl::OkStatus());
  });
  loop_.Stop();
  thread_.join();
}

void TrunkWorker::Drain(std::function<void()> on_drained) {
  loop_.Post([this, on_drained = std::move(on_drained)] {
    on_drained_ = on_drained;
    StopAccepting();
    for (const auto& trunk : trunks_) trunk->Drain();
    for (const auto& stream : load_streams_) stream->End();
    NotifyIfDrained();
  });
}

void TrunkWorker::NotifyIfDrained() {
  if (on_drained_ == nullptr || !trunks_.empty() || !connections_.empty()) return;
  std::exchange(on_drained_, nullptr)();
}

// The acceptor is retired, not deleted: this pass may hold an event for it.
void TrunkWorker::StopAccepting() {
  accepting_ = false;
  if (acceptor_ != nullptr) loop_.Retire(std::move(acceptor_));
}

void TrunkWorker::OnAccepted(UniqueFd fd) {
  counters_.trunks_accepted.Add();
  counters_.trunks.Add(1);
  const TrunkConnection::Options options = {
      .role = TrunkConnection::Role::kServer,
      .session = {.max_streams = options_.max_streams, .window_budget = &windows_},
      .offers_load = true,
      .tls = options_.tls};
  TrunkConnection::Owner* const owner = this;
  trunks_.push_back(
      std::make_unique<TrunkConnection>(loop_, std::move(fd), options, owner, &counters_.trunk));
}

Http2Stream* TrunkWorker::OnConnect(TrunkConnection& trunk, std::string_view authority,
                                    int* status) {
  const std::string_view name = HostOf(authority);
  const auto service = std::find_if(services_.begin(), services_.end(),
                                    [&](const LocalService& s) { return s.name == name; });
  if (service == services_.end()) {
    counters_.streams_unknown_service.Add();
    *status = kStatusUnknownService;
    return nullptr;
  }
  const auto index = static_cast<size_t>(service - services_.begin());
  ServiceTraffic& traffic = traffic_.At(options_.index, index);
  LocalConnection::Owner& owner = *this;
  auto connection = std::make_unique<LocalConnection>(
      loop_, targets_[index](), options_.connect_timeout,
      ProxyHeaderFor(*service, trunk.server_session().connect_fields()), traffic, owner);
  connection->table_index = connections_.size();
  connections_.push_back(std::move(connection));
  return connections_.back().get();
}

void TrunkWorker::OnConnectionGone(LocalConnection& connection, StreamBridge::End end) {
  if (end == StreamBridge::End::kUnwatchable) {
    WarnOfShortage(absl::ResourceExhaustedError(
        "epoll cannot watch a connection to a local server; raise fs.epoll.max_user_watches"));
  }
  const size_t index = connection.table_index;
  TRUNKLINE_CHECK(index < connections_.size() && connections_[index].get() == &connection,
                  "a worker loses its own connections, each once");
  loop_.Retire(std::move(connections_[index]));
  if (index + 1 < connections_.size()) {
    connections_[index] = std::move(connections_.back());
    connections_[index]->table_index = index;
  }
  connections_.pop_back();
  NotifyIfDrained();
}

Http2Stream* TrunkWorker::OnAskedForLoad(TrunkConnection& trunk, int* status) {
  if (!accepting_ || trunk.draining() || LoadStreamOf(trunk) != nullptr) {
    *status = accepting_ && !trunk.draining() ? kStatusTooMany : kStatusDraining;
    return nullptr;
  }
  LoadStream::Owner& owner = *this;
  load_streams_.push_back(std::make_unique<LoadStream>(loop_, trunk, services_, traffic_,
                                                       counters_.inband_reports, owner));
  counters_.load_streams.Add(1);
  if (!load_timer_.armed()) loop_.Arm(load_timer_, LoadPacer::kGap);
  return load_streams_.back().get();
}

LoadStream* TrunkWorker::LoadStreamOf(const TrunkConnection& trunk) {
  for (const auto& stream : load_streams_) {
    if (stream->is_of(trunk)) return stream.get();
  }
  return nullptr;
}

void TrunkWorker::OnLoadTimer() {
  for (const auto& stream : load_streams_) stream->Tick();
  if (!load_streams_.empty()) loop_.Arm(load_timer_, LoadPacer::kGap);
}

void TrunkWorker::OnLoadStreamGone(LoadStream& stream) {
  const auto it = std::find_if(load_streams_.begin(), load_streams_.end(),
                               [&](const auto& owned) { return owned.get() == &stream; });
  TRUNKLINE_CHECK(it != load_streams_.end(), "a worker loses its own load streams, each once");
  loop_.Retire(std::move(*it));
  load_streams_.erase(it);
  counters_.load_streams.Add(-1);
}

// The proxy opens the streams, so it alone chooses between trunks.
void TrunkWorker::OnTrunkChanged(TrunkConnection& trunk) {
  if (!trunk.draining()) return;
  if (LoadStream* stream = LoadStreamOf(trunk)) stream->End();
}

// Paces by host, because a proxy redials for ever, each time from another port.
void TrunkWorker::WarnOfTlsFailure(const TrunkConnection& trunk, const absl::Status& why) {
  const std::string host = trunk.peer().IpText();
  const auto more = options_.tls_log->Admit(host, loop_.now());
  if (!more) return;
  LogWarn("a trunk from {} was refused: {}; a proxy there gets no trunk until it is corrected{}",
          host, StdView(why.message()), *more);
}

void TrunkWorker::WarnOfShortage(const absl::Status& why) {
  if (loop_.now() < next_shortage_warning_) return;
  next_shortage_warning_ = loop_.now() + kShortageWarningInterval;
  LogWarn("this agent is short of resources for trunks: {}", StdView(why.message()));
}

void TrunkWorker::OnTrunkLost(TrunkConnection& trunk, const absl::Status& why) {
  if (absl::IsResourceExhausted(why)) {
    WarnOfShortage(why);
  } else if (!why.ok()) {
    LogDebug("trunk ended: {}", StdView(why.message()));
  }
  if (absl::IsUnauthenticated(why)) WarnOfTlsFailure(trunk, why);
  const auto it = std::find_if(trunks_.begin(), trunks_.end(),
                               [&](const auto& owned) { return owned.get() == &trunk; });
  TRUNKLINE_CHECK(it != trunks_.end(), "a worker loses its own trunks, each once");
  loop_.Retire(std::move(*it));
  trunks_.erase(it);
  counters_.trunks.Add(-1);
  NotifyIfDrained();
}

}  // namespace trunkline
