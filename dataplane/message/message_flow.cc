#include "dataplane/message/message_flow.h"

#include <sys/socket.h>
#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/base/unique_fd.h"
#include "common/net/event_loop.h"
#include "common/net/socket.h"
#include "dataplane/codec/codec.h"
#include "dataplane/codec/opening.h"
#include "dataplane/direct/direct_flow.h"
#include "dataplane/flow/flow.h"
#include "dataplane/flow/flow_end.h"
#include "dataplane/memory/memory_rule.h"
#include "dataplane/message/lifecycle.h"
#include "dataplane/message/shared_connection.h"
#include "dataplane/message/slow_reader_rule.h"
#include "dataplane/route/service_router.h"
#include "dataplane/table/endpoint_set.h"

namespace trunkline {
namespace {

constexpr size_t kReadBytes = 64 * 1024;
// Reads per turn, so that the worker's other clients get theirs. Messages without replies need not
// wait for anything, so a client could send them without end.
constexpr int kReadsPerTurn = 4;
constexpr uint32_t kReadEvents = EPOLLIN | EPOLLRDHUP | EPOLLET;

uint8_t* ReadBuffer() {
  thread_local std::vector<uint8_t> buffer(kReadBytes);
  return buffer.data();
}

}  // namespace

MessageFlow::MessageFlow(EventLoop& loop, UniqueFd client, ServiceRouter& router,
                         const EndpointSet& set)
    : Flow(router, loop.now()),
      loop_(loop),
      service_(set.message),
      limits_(set.limits),
      fd_(std::move(client)),
      parser_(service_->connection.codec->NewRequestParser()),
      last_activity_(loop.now()) {
  buffered_replies_.BelongTo(&router.worker().stats.to_client_buffered_bytes);
  pending_share_.BelongTo(&router.worker().stats.from_client_buffered_bytes);
  reserved_share_.BelongTo(&router.worker().stats.reserved_sockets);
  reserved_share_.Set(SocketsPerClient(set) - 1);
  loop_.Arm(idle_timer_, std::min(limits_.first_byte_timeout, limits_.idle_timeout));
}

MessageFlow::~MessageFlow() { loop_.CancelFlush(this); }

void MessageFlow::Begin() { ReadClient(); }

void MessageFlow::OnEvents(uint32_t events) {
  if (done()) return;
  if (events & EPOLLERR) {
    Finish(FlowEnd::kClientReset, Closing::kReset);
    return;
  }
  if (events & EPOLLRDHUP) {
    Apply(DownstreamEvent::kFinSeen);
  } else if (events & (EPOLLIN | EPOLLHUP)) {
    Apply(DownstreamEvent::kReadable);
  }
  if ((events & EPOLLOUT) && !buffered_replies_.empty()) FlushClient();
  if (!done()) ReadClient();
}

// Runs work deferred from inside callbacks.
void MessageFlow::OnFlush() {
  if (done()) return;
  if (upstream_state_ == UpstreamState::kQueued && state_ == FlowState::kServing) {
    if (NeedsDedicated()) return ContinueWithoutVariant();
    if (!search_.in_vain()) search_ = {};
  }
  RegulateServer();
  if (!done()) ResendAll();
  if (!done()) SendBufferedRequests();
  if (!done()) ReadClient();
}

// Returns true if nothing holds up the next request; otherwise, backpressure applies to the client.
bool MessageFlow::MaySendNext() const {
  return state_ == FlowState::kServing && upstream_state_ != UpstreamState::kQueued &&
         request_state_ != RequestState::kBlocked && buffered_replies_.empty() &&
         resend_queue_.empty();
}

void MessageFlow::ReadClient() {
  const auto readable = [this] {
    return downstream_state_ == DownstreamState::kReadable ||
           downstream_state_ == DownstreamState::kFinPending;
  };
  for (int reads = 0; readable() && front_ == Front::kParsing && MaySendNext(); ++reads) {
    if (reads == kReadsPerTurn) {
      loop_.RequestFlush(this);
      break;
    }
    const ssize_t n = recv(fd_.get(), ReadBuffer(), kReadBytes, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && !WouldBlock(errno)) {
      Finish(FlowEnd::kClientReset, Closing::kReset);
      return;
    }
    if (n >= 0) last_activity_ = loop_.now();
    if (n == 0) {
      Apply(DownstreamEvent::kFinRead);
      break;
    }
    // A short read emptied the socket, unless a FIN is behind it.
    const bool drained = n < static_cast<ssize_t>(kReadBytes);
    if (drained && downstream_state_ == DownstreamState::kReadable)
      Apply(DownstreamEvent::kDrained);
    if (n < 0) break;
    OnClientBytes({ReadBuffer(), static_cast<size_t>(n)});
  }
  if (done()) return;
  Watch();
  CloseIfDone();
}

void MessageFlow::Watch() {
  if (watched_) return;
  watched_ = true;
  if (!loop_.Add(fd_.get(), kReadEvents, this).ok()) {
    Finish(FlowEnd::kUnwatchable, Closing::kReset);
  }
}

void MessageFlow::OnClientBytes(std::span<const uint8_t> bytes) {
  if (buffered_requests_ != nullptr) {
    buffered_requests_->Append(bytes.data(), bytes.size());
    buffered_requests_->read_at = loop_.now();
    SendBufferedRequests();
    return;
  }
  const size_t sent = SendRequests(bytes);
  if (done() || sent == bytes.size()) return;
  buffered_requests_ = std::make_unique<Backlog>();
  buffered_requests_->Append(bytes.data() + sent, bytes.size() - sent);
  buffered_requests_->read_at = loop_.now();
  CountPending(0);
}

void MessageFlow::SendBufferedRequests() {
  if (buffered_requests_ == nullptr) return;
  const size_t sent = SendRequests({buffered_requests_->data(), buffered_requests_->size()});
  if (done()) return;
  buffered_requests_->Consume(sent);
  CountPending(sent);
}

size_t MessageFlow::pending_bytes() const {
  return resend_queue_.bytes() + (buffered_requests_ != nullptr ? buffered_requests_->size() : 0);
}

// Updates gauge and age after a change of the client's buffered bytes; `consumed` of them have left
// buffered_requests_.
void MessageFlow::CountPending(size_t consumed) {
  if (buffered_requests_ != nullptr) {
    buffered_requests_->age.Update(consumed, buffered_requests_->size(), loop_.now());
    if (buffered_requests_->empty()) buffered_requests_.reset();
  }
  pending_share_.Set(pending_bytes());
}

// Sends requests from the front of `view` until one has to wait. Returns the bytes that were sent.
size_t MessageFlow::SendRequests(std::span<const uint8_t> view) {
  size_t at = 0;
  while (MaySendNext()) {
    const std::span<const uint8_t> rest = view.subspan(at);
    if (front_ == Front::kParsing && !ParseFront(rest)) return at;
    if (front_ == Front::kDedicated) {
      if (in_flight_ == 0) ContinueAsDirectFlow(rest);
      return at;
    }
    if (front_ == Front::kMalformed) {
      if (in_flight_ == 0) SendLocalReply(Refusal::kBroken, FlowEnd::kBadRequest);
      return at;
    }
    const size_t size = front_size_;
    if (front_ == Front::kLocal) {
      if (in_flight_ > 0) return at;
      AnswerFront();
      at += size;
      continue;
    }
    if (!SendFront(rest.first(size))) {
      if (front_ == Front::kDedicated) ContinueAsDirectFlow(rest);
      return at;
    }
    at += size;
  }
  return at;
}

// Returns false if the front request is incomplete, or if it ended the flow.
bool MessageFlow::ParseFront(std::span<const uint8_t> view) {
  if (front_size_ == view.size()) return false;
  const ParseStep step = parser_->Parse(view.subspan(front_size_));
  front_size_ += step.used;
  const bool streamed = request_state_ != RequestState::kComplete;
  switch (step.state) {
    case ParseState::kMore:
      if (streamed) front_ = Front::kPart;
      break;
    case ParseState::kStream:
      front_ = parser_->request().dedicated ? Front::kDedicated : Front::kPart;
      break;
    case ParseState::kEnd:
      had_request_ = true;
      front_ = parser_->request().dedicated ? Front::kDedicated
               : parser_->request().local   ? Front::kLocal
                                            : Front::kEnd;
      break;
    case ParseState::kBroken:
      LogBadRequest();
      // The server has the beginning of this request, so no local reply can take its place.
      if (streamed) {
        Finish(FlowEnd::kBadRequest, Closing::kReset);
        return false;
      }
      front_ = Front::kMalformed;
      break;
  }
  return front_ != Front::kParsing;
}

void MessageFlow::WriteClient(std::span<const uint8_t> bytes) {
  const bool first = buffered_replies_.empty();
  const ReplyBacklog::Sent sent = buffered_replies_.Write(fd_.get(), bytes, loop_.now());
  if (record() != nullptr && sent != ReplyBacklog::Sent::kBroken) {
    record()->to_client_bytes += bytes.size();
  }
  switch (sent) {
    case ReplyBacklog::Sent::kAll:
      return;
    case ReplyBacklog::Sent::kBroken:
      return Finish(FlowEnd::kClientReset, Closing::kReset);
    case ReplyBacklog::Sent::kPart:
      return OnClientBlocked(first);
  }
}

// `first`: the client took every reply until now.
void MessageFlow::OnClientBlocked(bool first) {
  if (first) {
    watched_ = true;
    // Changing the mask makes epoll report room even if it has appeared meanwhile.
    if (!loop_.AddOrModify(fd_.get(), kReadEvents | EPOLLOUT, this).ok()) {
      return Finish(FlowEnd::kUnwatchable, Closing::kReset);
    }
  }
  RegulateServer();
}

// Runs for every reply that the client does not take, when another client begins to wait, and while
// others wait as often as the client may have stalled.
void MessageFlow::RegulateServer() {
  if (connection_ == nullptr || buffered_replies_.empty()) return;
  const size_t bytes = buffered_replies_.bytes();
  const bool paused = upstream_state_ == UpstreamState::kPaused;
  if (bytes <= kHoldsUpBytes && !paused) return;
  SharedConnection::Client* const client = this;
  const bool others_wait = connection_->OthersWait(client);
  const absl::Duration age = loop_.now() - buffered_replies_.since();
  const SlowReaderAction action =
      ActionFor({.buffered_bytes = bytes,
                 .age = age,
                 .others_wait = others_wait,
                 .one_at_a_time = connection_->one_at_a_time(),
                 .memory_short = router().worker().stats.memory_short.Value() > 0});
  switch (action) {
    case SlowReaderAction::kReset:
      connection_->ReportStalled(bytes, age);
      return Finish(FlowEnd::kSlowReader, Closing::kReset);
    case SlowReaderAction::kPause:
      Apply(UpstreamEvent::kPaused);
      connection_->PauseFor(client);
      break;
    case SlowReaderAction::kReadOn:
      if (paused) Apply(UpstreamEvent::kResumed);
      connection_->ReadOnFor(client);
      break;
  }
  if (others_wait && bytes > kHoldsUpBytes) ArmIdleTimer(/*most=*/kStalledAfter - age);
}

void MessageFlow::FlushClient() {
  const size_t before = buffered_replies_.bytes();
  const ReplyBacklog::Sent sent = buffered_replies_.Flush(fd_.get(), loop_.now());
  if (sent == ReplyBacklog::Sent::kBroken) {
    Finish(FlowEnd::kClientReset, Closing::kReset);
    return;
  }
  if (buffered_replies_.bytes() < before) {
    last_activity_ = loop_.now();
    LogEndedRequests();
  }
  if (sent == ReplyBacklog::Sent::kPart) return;
  if (!loop_.Modify(fd_.get(), kReadEvents, this).ok()) {
    return Finish(FlowEnd::kUnwatchable, Closing::kReset);
  }
  if (upstream_state_ == UpstreamState::kPaused) Apply(UpstreamEvent::kResumed);
  SharedConnection::Client* const client = this;
  if (connection_ != nullptr) connection_->Release(client);
  loop_.RequestFlush(this);
}

// Closes the client once nothing is in flight and no more requests can come.
void MessageFlow::CloseIfDone() {
  const bool client_fin = downstream_state_ == DownstreamState::kFinRead;
  const bool no_more_bytes = client_fin && front_ == Front::kParsing;
  if (no_more_bytes && request_state_ == RequestState::kPartial) {
    // The rest of a request whose beginning was sent will never come.
    Finish(FlowEnd::kClientReset, Closing::kReset);
    return;
  }
  if (upstream_state_ == UpstreamState::kQueued || !buffered_replies_.empty() ||
      !resend_queue_.empty()) {
    return;
  }
  if (state_ != FlowState::kClosing && !no_more_bytes) return;
  const SharedConnection::Client* const client = this;
  if (in_flight_ > 0 && connection_->Awaits(client)) return;
  // The last request may have been answered before it was complete, or others may follow it.
  const bool still_sends =
      !client_fin && (downstream_state_ != DownstreamState::kDrained ||
                      request_state_ != RequestState::kComplete || buffered_requests_ != nullptr);
  if (record() != nullptr) record()->OnClosedBy(FlowSide::kClient);
  Finish(FlowEnd::kClean, still_sends ? Closing::kLingeringFin : Closing::kFin);
}

// From the front request on, the client has an upstream connection of its own.
void MessageFlow::ContinueAsDirectFlow(std::span<const uint8_t> rest) {
  Apply(FlowEvent::kReplaced);
  queue_timer_.Cancel();
  idle_timer_.Cancel();
  reserved_share_.Set(0);
  if (watched_) loop_.Remove(fd_.get());
  pending_share_.Set(0);  // the DirectFlow counts the same bytes
  router().Replace(*this, std::make_unique<DirectFlow>(
                              loop_, std::move(fd_), router(), limits_, rest,
                              ConnectionOpening::For(service_->connection.codec, agreed_variant_)));
}

Flow::Buffered MessageFlow::buffered() const {
  Buffered buffered = {.bytes = pending_bytes()};
  // An incomplete request is as old as its first byte, however recent its last one.
  if (buffered_requests_ != nullptr) buffered.since = buffered_requests_->age.since();
  buffered.since = std::min(buffered.since, resend_queue_.since());
  if (!buffered_replies_.empty()) {
    buffered.bytes += buffered_replies_.bytes();
    buffered.kernel_bytes = QueuedToSend(fd_.get());
    buffered.since = std::min(buffered.since, buffered_replies_.since());
  }
  return buffered;
}

void MessageFlow::GiveUp() { SendLocalReply(Refusal::kUnavailable, FlowEnd::kNoEndpoint); }

void MessageFlow::OnQueueTimer() { GiveUp(); }

void MessageFlow::OnIdleTimer() {
  const absl::Duration limit = IdleLimit();
  const absl::Duration idle = loop_.now() - last_activity_;
  // The shared connection's reply timeout covers a slow server. A client that takes no reply is
  // idle.
  const bool waits_for_server = upstream_state_ == UpstreamState::kAttached;
  if (idle >= limit && !waits_for_server) return Finish(FlowEnd::kTimeout, Closing::kReset);
  ArmIdleTimer(/*most=*/absl::InfiniteDuration());
  RegulateServer();
}

// Arms the timer for the idle timeout, or earlier if `most` is shorter.
void MessageFlow::ArmIdleTimer(absl::Duration most) {
  const absl::Duration limit = IdleLimit();
  const absl::Duration idle = loop_.now() - last_activity_;
  loop_.Arm(idle_timer_, std::min(most, idle < limit ? limit - idle : limit));
}

// Closes the client, with a local reply if the protocol has one. The local reply must not be taken
// for the reply to another request, so it is sent only if its request is the oldest without one.
// After a lost connection, that is the first request that cannot be sent again.
void MessageFlow::SendLocalReply(Refusal why, FlowEnd end) {
  const std::string_view local_reply = service_->connection.codec->LocalReply(why);
  const bool is_oldest = why == Refusal::kLost ? resend_queue_.empty() : in_flight_ == 0;
  if (!local_reply.empty() && buffered_replies_.empty() && is_oldest) {
    Finish(end, Closing::kLingeringFin, local_reply);
  } else {
    Finish(end, Closing::kReset);
  }
}

void MessageFlow::Finish(FlowEnd end, Closing closing, std::string_view local_reply) {
  if (done()) return;
  Apply(FlowEvent::kFinished);
  queue_timer_.Cancel();
  idle_timer_.Cancel();
  buffered_replies_.Uncount();
  if (FlowRecord* const log = record()) {
    log->to_client_bytes -= buffered_replies_.bytes();
    LogAllRequests(end, log->to_client_bytes, local_reply.size());
    log->to_client_bytes += local_reply.size();
  }
  pending_share_.Set(0);
  reserved_share_.Set(0);
  SharedConnection* const connection = connection_;
  if (in_flight_ > 1) router().CountActive(*this, -static_cast<int32_t>(in_flight_ - 1));
  router().OnFlowDone(*this, end);
  SharedConnection::Client* const client = this;
  if (connection != nullptr) connection->Abandon(client);
  if (!local_reply.empty()) send(fd_.get(), local_reply.data(), local_reply.size(), MSG_NOSIGNAL);
  switch (closing) {
    case Closing::kReset:
      return CloseWithReset(std::move(fd_));
    case Closing::kFin:
      return fd_.Reset();
    case Closing::kLingeringFin:
      if (watched_) loop_.Remove(fd_.get());
      return router().worker().lingering_closes.Add(std::move(fd_));
  }
}

}  // namespace trunkline
