#include "dataplane/message/message_flow.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "common/net/socket.h"
#include "dataplane/direct/direct_flow.h"
#include "dataplane/message/shared_pool.h"
#include "dataplane/route/service_router.h"

namespace trunkline {
namespace {

constexpr size_t kReadBytes = 64 * 1024;
constexpr uint32_t kReadEvents = EPOLLIN | EPOLLRDHUP | EPOLLET;
// Of one client on its connection: a client that pipelines without end leaves room for others.
constexpr uint32_t kMaxInFlight = 64;
// Replies that the client has not taken: from here on its server waits, if nobody else would ...
constexpr size_t kPauseBytes = 256 * 1024;
// ... and here it is given up.
constexpr size_t kMaxUnsentBytes = 1024 * 1024;
// Connections that may fail under one request before it is given up.
constexpr uint32_t kMaxResends = 3;

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
  unsent_.BelongTo(&router.worker().stats.to_client_buffered_bytes);
  pending_share_.BelongTo(&router.worker().stats.from_client_buffered_bytes);
  reserved_share_.BelongTo(&router.worker().stats.reserved_sockets);
  reserved_share_.Set(SocketsPerClient(set) - 1);
  loop_.Arm(idle_timer_, std::min(limits_.first_byte_timeout, limits_.idle_timeout));
}

MessageFlow::~MessageFlow() { loop_.CancelFlush(this); }

void MessageFlow::Begin() { ReadClient(); }

void MessageFlow::OnEvents(uint32_t events) {
  if (done_) return;
  if (events & EPOLLERR) {
    Finish(FlowEnd::kClientReset, Closing::kReset);
    return;
  }
  if (events & EPOLLRDHUP) fin_waits_ = true;
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) readable_ = true;
  if ((events & EPOLLOUT) && !unsent_.empty()) FlushClient();
  if (!done_) ReadClient();
}

// What could not be done in the middle of something else.
void MessageFlow::OnFlush() {
  if (done_) return;
  SendAgain();
  if (!done_) WorkHeld();
  if (!done_) ReadClient();
}

bool MessageFlow::MayRead() const {
  return front_ == Front::kParsing && unsent_.empty() && again_.empty() && !waiting_ && !last_ &&
         has_room_;
}

void MessageFlow::ReadClient() {
  while (!done_ && readable_ && !client_fin_ && MayRead()) {
    const ssize_t n = recv(fd_.get(), ReadBuffer(), kReadBytes, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && !WouldBlock(errno)) {
      Finish(FlowEnd::kClientReset, Closing::kReset);
      return;
    }
    // A short read emptied the socket, unless a FIN waits behind it.
    const bool whole = static_cast<size_t>(n) == kReadBytes;
    readable_ = n > 0 && (whole || fin_waits_);
    if (n < 0) break;
    last_activity_ = loop_.now();
    if (n == 0) {
      client_fin_ = true;
      break;
    }
    Take({ReadBuffer(), static_cast<size_t>(n)});
  }
  if (done_) return;
  Watch();
  Settle();
}

void MessageFlow::Watch() {
  if (watched_) return;
  watched_ = true;
  if (!loop_.Add(fd_.get(), kReadEvents, this).ok()) {
    Finish(FlowEnd::kUnwatchable, Closing::kReset);
  }
}

void MessageFlow::Take(std::span<const uint8_t> bytes) {
  if (held_ != nullptr) {
    held_->Append(bytes.data(), bytes.size());
    WorkHeld();
    return;
  }
  const size_t used = Work(bytes);
  if (done_ || used == bytes.size()) return;
  held_ = std::make_unique<Backlog>();
  held_->Append(bytes.data() + used, bytes.size() - used);
  CountPending(0);
}

void MessageFlow::WorkHeld() {
  if (held_ == nullptr) return;
  const size_t used = Work({held_->data(), held_->size()});
  if (done_) return;
  held_->Consume(used);
  CountPending(used);
}

size_t MessageFlow::pending_bytes() const {
  return again_.bytes() + (held_ != nullptr ? held_->size() : 0);
}

// After a change of what is kept of the client's bytes; `taken` have left held_.
void MessageFlow::CountPending(size_t taken) {
  if (held_ != nullptr) {
    held_->age.Update(taken, held_->size(), loop_.now());
    if (held_->empty()) held_.reset();
  }
  pending_share_.Set(pending_bytes());
}

// Sends the requests at the front of `view` while there is a way for them; the bytes that are done.
size_t MessageFlow::Work(std::span<const uint8_t> view) {
  size_t at = 0;
  while (unsent_.empty() && again_.empty() && !waiting_ && !last_ && has_room_) {
    const std::span<const uint8_t> rest = view.subspan(at);
    if (front_ == Front::kParsing && !ParseFront(rest)) return at;
    if (front_ == Front::kDedicated) {
      // Behind the replies that are under way.
      if (in_flight_ == 0) LeaveDedicated(rest);
      return at;
    }
    if (front_ == Front::kJunk) {
      if (in_flight_ == 0) SendLocalReply(Refusal::kBroken, FlowEnd::kBadRequest);
      return at;
    }
    const size_t size = front_size_;
    if (!SendFront(rest.first(size))) return at;
    at += size;
  }
  return at;
}

// False: the request is not whole yet, or none.
bool MessageFlow::ParseFront(std::span<const uint8_t> view) {
  if (front_size_ == view.size()) return false;
  const ParseStep step = parser_->Parse(view.subspan(front_size_));
  front_size_ += step.used;
  switch (step.state) {
    case ParseState::kMore:
      if (open_) front_ = Front::kRest;
      break;
    case ParseState::kStream:
      front_ = parser_->request().dedicated ? Front::kDedicated : Front::kHead;
      break;
    case ParseState::kEnd:
      asked_ = true;
      front_ = parser_->request().dedicated ? Front::kDedicated
               : open_                      ? Front::kRestEnd
                                            : Front::kRequest;
      break;
    case ParseState::kBroken:
      // In the middle of a request that the server has begun to read, it is the server's, too.
      if (open_) {
        Finish(FlowEnd::kBadRequest, Closing::kReset);
        return false;
      }
      front_ = Front::kJunk;
      break;
  }
  return front_ != Front::kParsing;
}

// To where its other requests are. Not for ever to an endpoint that takes no new ones.
bool MessageFlow::MaySendOn() const {
  const bool leaving = endpoint()->carrier == nullptr || endpoint()->endpoint().weight <= 0;
  return !leaving && connection_->HasRoom() && in_flight_ < kMaxInFlight;
}

// False: it has to wait, for a reply or for its turn.
bool MessageFlow::SendFront(std::span<const uint8_t> front) {
  if (front_ == Front::kRest || front_ == Front::kRestEnd) {
    open_ = front_ == Front::kRest;
    cell_->bytes_to_server.Add(front.size());
    has_room_ = connection_->SendMore(front, open_);
    FrontIsSent();
    return true;
  }
  if (in_flight_ > 0) {
    if (!MaySendOn()) return false;
    router().CountActive(*this, 1);
    SendOn(front, parser_->request(), front_ == Front::kHead);
    FrontIsSent();
    return true;
  }
  starting_ = front;
  const bool started = router().Route(*this);
  starting_ = {};
  if (started || done_) return started;
  waiting_ = true;
  loop_.Arm(wait_timer_, limits_.connect_timeout);
  return false;
}

// Called by the router: at once for the request that was routed just now, or later for one that
// waited.
bool MessageFlow::Start(EndpointState& endpoint) {
  // Endpoints of a service in this mode have shared pools.
  SharedConnection* const connection = static_cast<SharedPool*>(endpoint.carrier)->Acquire();
  if (connection == nullptr) return false;
  connection_ = connection;
  cell_ = endpoint.cell;
  size_t taken = 0;
  if (!again_.empty()) {
    SendFirstAgain();
  } else {
    const std::span<const uint8_t> front =
        waiting_ ? std::span<const uint8_t>(held_->data(), front_size_) : starting_;
    SendOn(front, parser_->request(), front_ == Front::kHead);
    if (waiting_) {
      taken = front_size_;
      held_->Consume(taken);
    }
    FrontIsSent();
  }
  if (std::exchange(waiting_, false)) {
    wait_timer_.Cancel();
    CountPending(taken);
    loop_.RequestFlush(this);
  }
  return true;
}

void MessageFlow::SendOn(std::span<const uint8_t> request, const Request& traits, bool open) {
  ++in_flight_;
  open_ = open;
  last_ = last_ || traits.last;
  cell_->bytes_to_server.Add(request.size());
  SharedConnection::Client* const client = this;
  connection_->Send(client, request, traits, open);
}

void MessageFlow::FrontIsSent() {
  reserved_share_.Set(0);
  front_ = Front::kParsing;
  front_size_ = 0;
}

void MessageFlow::SendFirstAgain() {
  const ResendQueue::Request request = again_.Take();
  SendOn(request.bytes, {.reply_hint = request.reply_hint}, /*open=*/false);
  CountPending(0);
}

// Requests whose connection failed before it had them.
void MessageFlow::SendAgain() {
  while (!done_ && !again_.empty() && !waiting_) {
    if (in_flight_ > 0) {
      if (!MaySendOn()) return;
      router().CountActive(*this, 1);
      SendFirstAgain();
      continue;
    }
    if (!RouteAgain()) {
      SendLocalReply(Refusal::kUnavailable, FlowEnd::kConnectionLost);
      return;
    }
    if (done_ || endpoint() != nullptr) continue;
    waiting_ = true;
    loop_.Arm(wait_timer_, limits_.connect_timeout);
  }
}

// Only what a server may have seen costs the service's budget of second tries.
bool MessageFlow::RouteAgain() {
  if (++resends_ > kMaxResends) return false;
  if (again_.front().written) return router().Retry(*this);
  router().Reroute(*this);
  return true;
}

void MessageFlow::OnRoom() {
  has_room_ = true;
  loop_.RequestFlush(this);
}

void MessageFlow::CountAnswered(uint32_t completed) {
  if (completed == 0) return;
  in_flight_ -= completed;
  const uint32_t left = std::max<uint32_t>(1, in_flight_);
  const auto change = static_cast<int32_t>(in_flight_ + completed - left);
  if (change > 0) router().CountActive(*this, -change);
  if (in_flight_ > 0) return;
  if (std::exchange(paused_, false)) connection_->Resume();
  connection_ = nullptr;
  has_room_ = true;
  router().Release(*this);
}

void MessageFlow::OnReply(std::span<const uint8_t> bytes, uint32_t completed, bool last) {
  if (done_) return;
  last_activity_ = loop_.now();
  cell_->bytes_to_client.Add(bytes.size());
  resends_ = 0;
  last_ = last_ || last;
  CountAnswered(completed);
  if (!bytes.empty()) WriteClient(bytes);
  if (done_) return;
  const bool more_to_do = held_ != nullptr || readable_ || last_ || client_fin_ || !again_.empty();
  if (more_to_do) loop_.RequestFlush(this);
}

void MessageFlow::OnUnanswered(const SharedConnection::Unanswered& what) {
  if (done_) return;
  CountAnswered(1);
  open_ = false;
  if (what.request.empty() && what.begun) {
    Finish(FlowEnd::kConnectionLost, Closing::kReset);
  } else if (what.request.empty()) {
    SendLocalReply(Refusal::kLost, FlowEnd::kConnectionLost);
  } else {
    again_.Return({.bytes = {what.request.begin(), what.request.end()},
                   .reply_hint = what.reply_hint,
                   .written = what.written,
                   .since = loop_.now()},
                  /*last=*/in_flight_ == 0);
    CountPending(0);
    loop_.RequestFlush(this);
  }
}

void MessageFlow::WriteClient(std::span<const uint8_t> bytes) {
  const bool first = unsent_.empty();
  switch (unsent_.Write(fd_.get(), bytes, loop_.now())) {
    case ReplyBacklog::Sent::kAll:
      return;
    case ReplyBacklog::Sent::kBroken:
      return Finish(FlowEnd::kClientReset, Closing::kReset);
    case ReplyBacklog::Sent::kPart:
      return HoldBack(first);
  }
}

// The client leaves replies; `first`: it took all until now.
void MessageFlow::HoldBack(bool first) {
  if (first) {
    watched_ = true;
    // Asking anew tells of room even if there is some meanwhile.
    if (!loop_.AddOrModify(fd_.get(), kReadEvents | EPOLLOUT, this).ok()) {
      return Finish(FlowEnd::kUnwatchable, Closing::kReset);
    }
  }
  // Asked each time: somebody may wait by now.
  if (unsent_.bytes() > kPauseBytes && connection_ != nullptr) {
    SharedConnection::Client* const client = this;
    paused_ = connection_->PauseFor(client);
  }
  if (unsent_.bytes() > kMaxUnsentBytes && !paused_) {
    Finish(FlowEnd::kSlowReader, Closing::kReset);
  }
}

void MessageFlow::FlushClient() {
  const size_t before = unsent_.bytes();
  const ReplyBacklog::Sent sent = unsent_.Flush(fd_.get(), loop_.now());
  if (sent == ReplyBacklog::Sent::kBroken) {
    Finish(FlowEnd::kClientReset, Closing::kReset);
    return;
  }
  if (unsent_.bytes() < before) last_activity_ = loop_.now();
  if (sent == ReplyBacklog::Sent::kPart) return;
  if (!loop_.Modify(fd_.get(), kReadEvents, this).ok()) {
    return Finish(FlowEnd::kUnwatchable, Closing::kReset);
  }
  if (std::exchange(paused_, false) && connection_ != nullptr) connection_->Resume();
  loop_.RequestFlush(this);
}

// Nothing is under way any more: is the client through?
void MessageFlow::Settle() {
  // The rest of a request whose beginning was sent will never come.
  if (!done_ && client_fin_ && open_ && front_ == Front::kParsing && has_room_) {
    Finish(FlowEnd::kClientReset, Closing::kReset);
    return;
  }
  if (done_ || in_flight_ > 0 || waiting_ || !unsent_.empty() || !again_.empty()) return;
  if (last_ || (client_fin_ && front_ == Front::kParsing)) {
    // Its request may have been answered before it was whole, or more than the last one has come.
    const bool still_sends = !client_fin_ && (readable_ || open_ || held_ != nullptr);
    Finish(FlowEnd::kClean, still_sends ? Closing::kLingeringFin : Closing::kFin);
  }
}

// From the front request on, everything is between the client and a server of its own.
void MessageFlow::LeaveDedicated(std::span<const uint8_t> rest) {
  done_ = true;
  wait_timer_.Cancel();
  idle_timer_.Cancel();
  reserved_share_.Set(0);
  if (watched_) loop_.Remove(fd_.get());
  pending_share_.Set(0);  // the next one has them
  router().Replace(*this,
                   std::make_unique<DirectFlow>(loop_, std::move(fd_), router(), limits_, rest));
}

Flow::Buffered MessageFlow::buffered() const {
  Buffered buffered = {.bytes = pending_bytes()};
  // A request that is not whole is as old as its beginning, however lately more of it came.
  if (held_ != nullptr) buffered.since = held_->age.since();
  buffered.since = std::min(buffered.since, again_.since());
  if (!unsent_.empty()) {
    buffered.bytes += unsent_.bytes();
    buffered.kernel_bytes = QueuedToSend(fd_.get());
    buffered.since = std::min(buffered.since, unsent_.since());
  }
  return buffered;
}

void MessageFlow::GiveUp() { SendLocalReply(Refusal::kUnavailable, FlowEnd::kNoEndpoint); }

void MessageFlow::OnWaitTimer() { GiveUp(); }

void MessageFlow::OnIdleTimer() {
  const absl::Duration limit = asked_ ? limits_.idle_timeout : limits_.first_byte_timeout;
  const absl::Duration idle = loop_.now() - last_activity_;
  // Its server is waited for as long as the service allows a reply to take; a client is not, that
  // takes nothing of it.
  const bool for_server = in_flight_ > 0 && !paused_;
  if (idle < limit || for_server) {
    loop_.Arm(idle_timer_, idle < limit ? limit - idle : limit);
    return;
  }
  Finish(FlowEnd::kTimeout, Closing::kReset);
}

// Says why in the words of the protocol, if it has any, and closes. Words are an answer, so they
// are said only where they cannot be taken for that to another request. A connection that is lost
// takes all that is under way with it, the oldest first; that one is answered.
void MessageFlow::SendLocalReply(Refusal why, FlowEnd end) {
  const std::string_view words = service_->connection.codec->LocalReply(why);
  const bool is_next = why == Refusal::kLost ? again_.empty() : in_flight_ == 0;
  const bool can_speak = !words.empty() && unsent_.empty() && is_next;
  if (can_speak) {
    Finish(end, Closing::kLingeringFin, words);
  } else {
    Finish(end, Closing::kReset);
  }
}

void MessageFlow::Finish(FlowEnd end, Closing closing, std::string_view local_reply) {
  if (done_) return;
  done_ = true;
  wait_timer_.Cancel();
  idle_timer_.Cancel();
  unsent_.Uncount();
  pending_share_.Set(0);
  reserved_share_.Set(0);
  SharedConnection* const connection = connection_;
  if (in_flight_ > 1) router().CountActive(*this, -static_cast<int32_t>(in_flight_ - 1));
  router().OnFlowDone(*this, end);
  SharedConnection::Client* const client = this;
  if (connection != nullptr) connection->Abandon(client);
  // Last: who sees the end finds it counted.
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
