// The server's side of MessageFlow: routing, sending and resending requests, and what comes back
// for them.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "dataplane/codec/codec.h"
#include "dataplane/flow/flow_end.h"
#include "dataplane/flow/request_record.h"
#include "dataplane/message/lifecycle.h"
#include "dataplane/message/message_flow.h"
#include "dataplane/message/message_id.h"
#include "dataplane/message/shared_connection.h"
#include "dataplane/route/service_router.h"

namespace trunkline {
namespace {

// Requests of one client on its connection, so that a client that pipelines without end leaves room
// for others.
constexpr uint32_t kMaxInFlight = 64;
// Connections that may fail under one request before it is given up.
constexpr uint32_t kMaxResends = 3;

}  // namespace

// A departing endpoint, or one of weight 0, gets no more requests from a client that pipelines
// without end.
bool MessageFlow::MaySendOnSameConnection() const {
  const bool leaving = endpoint()->carrier == nullptr || endpoint()->endpoint().weight <= 0;
  return !leaving && connection_->HasRoom() && in_flight_ < kMaxInFlight;
}

// Returns false if the front request has to wait, for a reply or in the pending queue.
bool MessageFlow::SendFront(std::span<const uint8_t> front) {
  const bool open = front_ == Front::kPart;
  if (request_state_ == RequestState::kPartial) {
    Apply(open ? RequestEvent::kPartSent : RequestEvent::kEndSent);
    cell_->bytes_to_server.Add(front.size());
    if (!connection_->SendMore(front, open, FrontArrivedAt())) Apply(RequestEvent::kBufferFull);
    OnFrontSent();
    return true;
  }
  const bool one_way = service_->connection.codec->one_way();
  if (in_flight_ > 0 && one_way) {
    // Messages without replies need no common connection, so each is balanced by itself, once the
    // server's socket has taken the one before.
    connection_->SendNow();
    if (done() || in_flight_ > 0 || !resend_queue_.empty()) return false;
  }
  const uint8_t variant = parser_->request().variant;
  if (in_flight_ > 0) {
    if (connection_->variant() != variant || !MaySendOnSameConnection()) return false;
    router().CountActive(*this, 1);
    SendOn(front, parser_->request(), open, FrontArrivedAt(), FollowFront());
    OnFrontSent();
    return true;
  }
  set_variant(variant);
  search_ = {};
  starting_ = front;
  const bool started = router().Route(*this);
  starting_ = {};
  if (started || done()) return started;
  if (search_.in_vain() && state_ == FlowState::kServing) {
    front_ = Front::kDedicated;
  } else {
    Enqueue();
  }
  return false;
}

// The proxy answers the front request itself. Replies come in the order of requests, so no other
// one may be in flight.
void MessageFlow::AnswerFront() {
  const Request request = parser_->request();
  NoteLocalReply(FollowFront(), RequestRecord::End::kLocal, request.answer.size());
  front_ = Front::kParsing;
  front_size_ = 0;
  if (request.denial != Denial::kNone) OnDenied(request);
  if (request.last) Apply(FlowEvent::kLastExchange);
  if (!request.answer.empty()) {
    WriteClient({reinterpret_cast<const uint8_t*>(request.answer.data()), request.answer.size()});
  }
  LogEndedRequests();
}

// The router has put the flow into its pending queue, from which it searches anew.
void MessageFlow::Enqueue() {
  search_ = {};
  Apply(UpstreamEvent::kQueued);
  // A message without a reply can wait as long as a server may take no byte.
  const SharedConnectionOptions& options = service_->connection;
  loop_.Arm(queue_timer_, options.codec->one_way()
                              ? std::max(limits_.connect_timeout, options.reply_timeout)
                              : limits_.connect_timeout);
}

// The router calls this inside Route, Retry and Reroute, or later for a request from the pending
// queue.
bool MessageFlow::Start(EndpointState& endpoint) {
  SharedConnection* const connection = endpoint.carrier->AcquireConnection(variant());
  const bool was_queued = upstream_state_ == UpstreamState::kQueued;
  if (connection == nullptr) {
    (endpoint.carrier->Refuses(variant()) ? search_.refused : search_.full) = true;
    // The end of the pass is the end of the search.
    if (variant() != 0 && was_queued) loop_.RequestFlush(this);
    return false;
  }
  Apply(UpstreamEvent::kStarted);
  connection_ = connection;
  cell_ = endpoint.cell;
  size_t consumed = 0;
  if (!resend_queue_.empty()) {
    ResendFirst();
  } else {
    const std::span<const uint8_t> front =
        was_queued ? std::span<const uint8_t>(buffered_requests_->data(), front_size_) : starting_;
    SendOn(front, parser_->request(), front_ == Front::kPart, FrontArrivedAt(), FollowFront());
    if (was_queued) {
      consumed = front_size_;
      buffered_requests_->Consume(consumed);
    }
    OnFrontSent();
  }
  if (was_queued) {
    queue_timer_.Cancel();
    CountPending(consumed);
    loop_.RequestFlush(this);
  }
  return true;
}

// Nothing is read while a complete request waits, so the last byte that was read completed it.
MonotonicTime MessageFlow::FrontArrivedAt() const {
  return buffered_requests_ != nullptr ? buffered_requests_->read_at : loop_.now();
}

void MessageFlow::SendOn(std::span<const uint8_t> request, const Request& traits, bool open,
                         MonotonicTime arrived_at, uint32_t number) {
  if (!traits.substitute.empty()) {
    request = {reinterpret_cast<const uint8_t*>(traits.substitute.data()),
               traits.substitute.size()};
  }
  ++in_flight_;
  Apply(open ? RequestEvent::kPartSent : RequestEvent::kEndSent);
  if (traits.last) {
    Apply(FlowEvent::kLastExchange);
    if (record() != nullptr) record()->OnClosedBy(FlowSide::kClient);
  }
  cell_->bytes_to_server.Add(request.size());
  if (traits.replies != Replies::kOne) cell_->one_way.Add();
  if (traits.replies == Replies::kMaybe) LogBroadcast(traits);
  NoteSent(number);
  SharedConnection::Client* const client = this;
  connection_->Send(client, request, traits, open, arrived_at, number);
}

void MessageFlow::OnFrontSent() {
  reserved_share_.Set(0);
  NoteFrontSent();
  front_sent_ = front_ == Front::kPart ? front_sent_ + front_size_ : 0;
  front_ = Front::kParsing;
  front_size_ = 0;
}

void MessageFlow::ResendFirst() {
  const ResendQueue::Request request = resend_queue_.Take();
  const Request traits = {.repeatable = request.repeatable,
                          .replies = request.replies,
                          .reply_hint = request.reply_hint};
  SendOn(request.bytes, traits, /*open=*/false, request.arrived_at, request.number);
  CountPending(0);
}

void MessageFlow::ResendAll() {
  while (!done() && !resend_queue_.empty() && upstream_state_ != UpstreamState::kQueued) {
    if (in_flight_ > 0) {
      if (!MaySendOnSameConnection()) return;
      router().CountActive(*this, 1);
      router().CountRetry(*this);
      ResendFirst();
      continue;
    }
    if (!RouteResend()) {
      SendLocalReply(Refusal::kUnavailable, FlowEnd::kConnectionLost);
      return;
    }
    if (done() || endpoint() != nullptr) continue;
    if (NeedsDedicated()) return ContinueWithoutVariant();
    const Search search = search_;
    Enqueue();
    // OnFlush goes on once the client has taken its replies.
    if (search.in_vain()) search_ = search;
  }
}

// Only a request that a server may have seen counts, and is charged to the retry budget; for the
// others, time is the limit. Returns false if one of the limits is reached.
bool MessageFlow::RouteResend() {
  search_ = {};
  if (resend_queue_.front().written) {
    return ++resends_ <= kMaxResends && router().Retry(*this);
  }
  if (loop_.now() > resend_until_) return false;
  router().Reroute(*this);
  return true;
}

// Returns true if the server refuses the client's variant. Replies that the client has yet to take
// come first: it waits in the pending queue meanwhile.
bool MessageFlow::NeedsDedicated() const {
  return search_.in_vain() && state_ == FlowState::kServing && buffered_replies_.empty();
}

// No shared connection takes the requests that wait, because the server refuses their variant.
void MessageFlow::ContinueWithoutVariant() {
  std::vector<uint8_t> bytes;
  while (!resend_queue_.empty()) {
    const ResendQueue::Request request = resend_queue_.Take();
    bytes.insert(bytes.end(), request.bytes.begin(), request.bytes.end());
  }
  if (buffered_requests_ != nullptr) {
    const uint8_t* const begin = buffered_requests_->data();
    bytes.insert(bytes.end(), begin, begin + buffered_requests_->size());
  }
  ContinueAsDirectFlow(bytes);
}

void MessageFlow::OnRoom() {
  Apply(RequestEvent::kBufferDrained);
  loop_.RequestFlush(this);
}

void MessageFlow::OnAnswered(uint32_t completed) {
  if (completed == 0) return;
  in_flight_ -= completed;
  // The router counts a started flow as one request; the flow counts the others.
  const uint32_t left = std::max<uint32_t>(1, in_flight_);
  const auto change = static_cast<int32_t>(in_flight_ + completed - left);
  if (change > 0) router().CountActive(*this, -change);
  if (in_flight_ > 0) return;
  SharedConnection::Client* const client = this;
  connection_->Release(client);
  Apply(UpstreamEvent::kAllAnswered);
  connection_ = nullptr;
  // A server may answer before it has read the whole request.
  if (request_state_ == RequestState::kBlocked) Apply(RequestEvent::kBufferDrained);
  router().Release(*this);
}

void MessageFlow::OnReplyBegins(MonotonicTime arrived_at) {
  router().OnFirstByte(*this, arrived_at);
}

void MessageFlow::OnReply(std::span<const uint8_t> bytes, uint32_t completed, bool last) {
  if (done()) return;
  last_activity_ = loop_.now();
  agreed_variant_ = connection_->variant();
  cell_->bytes_to_client.Add(bytes.size());
  resends_ = 0;
  resend_until_ = MonotonicTime();
  ForgetTries();
  if (last) {
    Apply(FlowEvent::kLastExchange);
    if (record() != nullptr) record()->OnClosedBy(FlowSide::kServer);
  }
  OnAnswered(completed);
  NoteIdle();
  if (!bytes.empty()) WriteClient(bytes);
  LogEndedRequests();
  ContinueAfterReply();
}

// Defers what the flow does next to the end of the pass, because the connection is calling.
void MessageFlow::ContinueAfterReply() {
  if (done()) return;
  const bool more_to_do = downstream_state_ != DownstreamState::kDrained ||
                          state_ == FlowState::kClosing || buffered_requests_ != nullptr ||
                          !resend_queue_.empty();
  if (more_to_do) loop_.RequestFlush(this);
}

// Returns false if the protocol has no local reply for one request.
bool MessageFlow::AnswerLate(const SharedConnection::Unanswered& what) {
  const Codec& codec = *service_->connection.codec;
  std::string reply = codec.LateReply(what.reply_hint);
  LogLate(what.reply_hint, !reply.empty());
  cell_->reply_timeouts.Add();
  if (reply.empty()) return false;
  const IdField id = codec.id_field().value();
  WriteId(what.client_id, reinterpret_cast<uint8_t*>(reply.data()) + id.offset, id.size);
  OnAnswered(1);
  NoteIdle();
  NoteLocalReply(what.number, RequestRecord::End::kTimeout, reply.size());
  WriteClient({reinterpret_cast<const uint8_t*>(reply.data()), reply.size()});
  LogEndedRequests();
  ContinueAfterReply();
  return true;
}

void MessageFlow::OnUnanswered(const SharedConnection::Unanswered& what) {
  if (done() || (what.late && AnswerLate(what))) return;
  NoteUnanswered(what);
  // A server that dies takes its other connections with it, perhaps a moment later, so the request
  // is sent to another server if there is one.
  if (!tried(endpoint())) NoteTry();
  if (resend_until_ == MonotonicTime()) resend_until_ = loop_.now() + limits_.connect_timeout;
  OnAnswered(1);
  Apply(RequestEvent::kUnanswered);
  if (what.request.empty() && what.begun) {
    Finish(FlowEnd::kConnectionLost, Closing::kReset);
  } else if (what.request.empty()) {
    SendLocalReply(Refusal::kLost, FlowEnd::kConnectionLost);
  } else {
    resend_queue_.Return({.bytes = {what.request.begin(), what.request.end()},
                          .reply_hint = what.reply_hint,
                          .repeatable = what.repeatable,
                          .replies = what.replies,
                          .written = what.written,
                          .since = loop_.now(),
                          .arrived_at = what.arrived_at,
                          .number = what.number},
                         /*last=*/in_flight_ == 0);
    CountPending(0);
    loop_.RequestFlush(this);
  }
}

}  // namespace trunkline
