#include "dataplane/message/shared_connection.h"

#include <sys/socket.h>
#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/net/event_loop.h"
#include "common/net/socket.h"
#include "dataplane/codec/codec.h"
#include "dataplane/codec/opening.h"
#include "dataplane/limits/connection_budget.h"
#include "dataplane/message/lifecycle.h"
#include "dataplane/message/message_id.h"
#include "dataplane/stats/shared_counters.h"
#include "dataplane/table/message_service.h"

namespace trunkline {
namespace {

// Unsent bytes at which the connection accepts no more requests: backpressure leaves the requests
// that the server does not read with the clients.
constexpr size_t kHighWaterBytes = 256 * 1024;
constexpr unsigned kNoIdBits = 64;
// Requests whose reply may come or not. Above the first number, the oldest end without a reply at
// the end of the pass; at the second, the connection has no room before that.
constexpr size_t kMostMaybe = 16;
constexpr size_t kMostMaybeOfAPass = 64;

// With ids, half of the numbers stay free, so that the number of a request that timed out is not
// used again soon.
size_t Capacity(const SharedConnectionOptions& options, const std::optional<IdField>& id) {
  if (options.codec->one_at_a_time()) return 1;
  if (!id) return options.max_in_flight;
  const size_t numbers = size_t{1} << std::min<size_t>(16, id->size * kBitsPerByte);
  return std::min(options.max_in_flight, numbers / 2);
}

}  // namespace

SharedConnection::SharedConnection(EventLoop& loop, ConnectResult dial,
                                   const SharedConnectionOptions& options, ConnectionLease lease,
                                   Owner* owner, SharedCounters* counters)
    : loop_(loop),
      options_(options),
      id_field_(options.codec->id_field()),
      one_at_a_time_(options.codec->one_at_a_time()),
      capacity_(Capacity(options, id_field_)),
      lease_(std::move(lease)),
      owner_(owner),
      counters_(counters),
      opening_(ConnectionOpening::For(options.codec, options.variant)),
      parser_(options.codec->NewReplyParser()),
      pending_(capacity_ + (id_field_ ? kMostMaybeOfAPass : 0),
               id_field_ ? static_cast<unsigned>(id_field_->size) * kBitsPerByte : kNoIdBits),
      last_read_(loop.now()),
      idle_since_(loop.now()) {
  fd_ = std::move(dial.fd);
  dial_error_ = dial.error;
  // Epoll reports a new descriptor at once, even if the connect has succeeded already.
  constexpr uint32_t kWatched = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  if (fd_ && !loop_.Add(fd_.get(), kWatched, this).ok()) {
    fd_.Reset();
    dial_error_ = ENOSPC;
  }
  loop_.Arm(timer_, fd_ ? options_.connect_timeout : absl::ZeroDuration());
}

SharedConnection::~SharedConnection() { loop_.CancelFlush(this); }

bool SharedConnection::HasRoom() const {
  const bool accepts = state_ == ConnectionState::kConnecting ||
                       state_ == ConnectionState::kGreeting || state_ == ConnectionState::kOpen;
  return accepts && !retiring_ && request_state_ == RequestState::kComplete &&
         in_flight() < capacity_ && maybe_.size() < kMostMaybeOfAPass &&
         output_.size() < kHighWaterBytes;
}

void SharedConnection::Send(Client* client, std::span<const uint8_t> request, const Request& traits,
                            bool open, MonotonicTime arrived_at, uint32_t number) {
  counters_->requests.Add();
  Pending pending{.client = client,
                  .begin = appended_,
                  .size = static_cast<uint32_t>(request.size()),
                  .reply_hint = traits.reply_hint,
                  .repeatable = traits.repeatable,
                  .replies = traits.replies,
                  .number = number,
                  .sent_at = loop_.now(),
                  .arrived_at = arrived_at};
  if (id_field_) pending.client_id = ReadId(request.data() + id_field_->offset, id_field_->size);
  uint8_t* const place = output_.Reserve(request.size());
  std::copy(request.begin(), request.end(), place);
  std::fill_n(place + traits.blank_offset, traits.blank_size, ' ');
  if (options_.idempotent && traits.repeatable && !open)
    pending.copy.assign(place, place + request.size());
  const bool was_idle = pending_.empty();
  const uint64_t id = pending_.Add(std::move(pending));
  if (traits.replies == Replies::kMaybe) maybe_.push_back(id);
  if (traits.replies == Replies::kNone) one_way_.push_back(id);
  if (id_field_) WriteId(id, place + id_field_->offset, id_field_->size);
  output_.Commit(request.size());
  appended_ += request.size();
  OnRequestBytes(open);
  if (holder_ != nullptr && holder_ != client) holder_->OnOthersWait();
  if (!was_idle) return;
  // The server may have closed an idle connection a moment ago; read that before writing, while the
  // request can still be sent elsewhere.
  ScheduleRead();
  if (up()) loop_.Arm(timer_, options_.reply_timeout);
}

bool SharedConnection::SendMore(std::span<const uint8_t> bytes, bool open,
                                MonotonicTime arrived_at) {
  output_.Append(bytes.data(), bytes.size());
  appended_ += bytes.size();
  pending_.front().size += bytes.size();
  pending_.front().sent_at = loop_.now();
  pending_.front().arrived_at = arrived_at;
  OnRequestBytes(open);
  if (!open || output_.size() < kHighWaterBytes) return true;
  Apply(RequestEvent::kBufferFull);
  return false;
}

void SharedConnection::OnRequestBytes(bool open) {
  Apply(open ? RequestEvent::kPartSent : RequestEvent::kEndSent);
  loop_.RequestFlush(this);
}

bool SharedConnection::Awaits(const Client* client) {
  bool awaits = false;
  pending_.ForEach([&](const Pending& pending) {
    awaits = awaits || (pending.client == client && !pending.noted);
  });
  return awaits;
}

void SharedConnection::Abandon(Client* client) {
  if (state_ == ConnectionState::kClosed) return;
  pending_.ForEach([&](Pending& pending) {
    if (pending.client == client) pending.client = nullptr;
  });
  // No other client uses this connection. Closing it costs less than reading a long reply only to
  // discard it, and a truncated request makes it useless anyway.
  if (one_at_a_time_ && !pending_.empty()) {
    End(ConnectionEvent::kClientLeft, absl::OkStatus());
    return;
  }
  Release(client);
}

void SharedConnection::PauseFor(Client* client) {
  holder_ = client;
  Apply(ReadEvent::kPause);
}

void SharedConnection::ReadOnFor(Client* client) {
  holder_ = client;
  Resume();
}

void SharedConnection::Release(const Client* client) {
  if (holder_ != client) return;
  holder_ = nullptr;
  Resume();
}

bool SharedConnection::OthersWait(const Client* client) {
  bool others = owner_->HasWaiters();
  pending_.ForEach([&](const Pending& pending) {
    others = others || (pending.client != client && pending.client != nullptr);
  });
  return others;
}

void SharedConnection::OnWaiters() {
  if (holder_ != nullptr) holder_->OnOthersWait();
}

void SharedConnection::Resume() {
  if (read_state_ != ReadState::kPaused) return;
  Apply(ReadEvent::kResume);
  last_read_ = loop_.now();
  loop_.RequestFlush(this);
}

void SharedConnection::Close() { End(ConnectionEvent::kOwnerClosed, absl::OkStatus()); }

void SharedConnection::OnEvents(uint32_t events) {
  if (state_ == ConnectionState::kClosed) return;
  if (state_ == ConnectionState::kConnecting) {
    if (const int error = SocketError(fd_.get()); error != 0) {
      End(ConnectionEvent::kDialFailed, absl::UnavailableError(ErrorText(error)));
      return;
    }
    if (!(events & EPOLLOUT)) return;
    OnConnected();
    if (state_ == ConnectionState::kClosed) return;
  }
  if (events & EPOLLOUT) writable_ = true;
  if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) server_fin_ = true;
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) ReadAvailable();
  if (up() && !output_.empty()) loop_.RequestFlush(this);
}

// The connect timeout includes the greeting, and the reply to the opening.
void SharedConnection::OnConnected() {
  if (!options_.greeting && opening_ == nullptr) return Open(ConnectionEvent::kConnected);
  Apply(ConnectionEvent::kGreetingDue);
  if (opening_ != nullptr) SendOpening();
}

void SharedConnection::Open(ConnectionEvent event) {
  Apply(event);
  idle_since_ = loop_.now();
  ArmTimer();
  owner_->OnConnectionUp(*this);
}

void SharedConnection::OnFlush() {
  if (!up()) return;
  if (read_state_ == ReadState::kScheduled) {
    Apply(ReadEvent::kPassEnds);
    ReadAvailable();
  }
  if (up()) SendOutput();
  NoteWrittenMaybe();
  if (maybe_.size() <= kMostMaybe) return;
  DropMaybe(kMostMaybe);
  OnRepliesDelivered();
}

void SharedConnection::NoteStep(const Pending& pending, Step step, size_t offset) {
  if (pending.number == 0 || pending.client == nullptr) return;
  pending.client->OnStep(pending.number, step, offset);
}

void SharedConnection::SendOutput() {
  while (writable_ && !output_.empty()) {
    const ssize_t n = send(fd_.get(), output_.data(), output_.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      writable_ = false;
      if (WouldBlock(errno)) break;
      // The connection is broken. Replies that arrived before are read first; the FIN or error
      // behind them closes it.
      server_fin_ = true;
      ScheduleRead();
      break;
    }
    counters_->writes.Add();
    counters_->bytes_written.Add(n);
    last_write_ = loop_.now();
    written_ += static_cast<uint64_t>(n);
    output_.Consume(static_cast<size_t>(n));
  }
  output_.Shrink();
  EndWrittenOneWay();
  const bool has_room =
      request_state_ == RequestState::kBlocked && output_.size() < kHighWaterBytes / 2;
  if (!has_room || pending_.empty()) return;
  Apply(RequestEvent::kBufferDrained);
  if (Client* client = pending_.front().client; client != nullptr) client->OnRoom();
}

void SharedConnection::ArmTimer() {
  loop_.Arm(timer_, pending_.empty() ? options_.idle_timeout : options_.reply_timeout);
}

void SharedConnection::OnTimer() {
  if (state_ == ConnectionState::kClosed) return;
  if (state_ == ConnectionState::kConnecting) {
    if (!fd_)
      return End(ConnectionEvent::kDialFailed, absl::UnavailableError(ErrorText(dial_error_)));
    return End(ConnectionEvent::kConnectTimeout,
               absl::DeadlineExceededError(absl::StrCat(
                   "no connection within ", absl::FormatDuration(options_.connect_timeout))));
  }
  if (state_ == ConnectionState::kGreeting) {
    if (opening_ != nullptr) {
      return End(ConnectionEvent::kConnectTimeout,
                 absl::DeadlineExceededError(
                     absl::StrCat("no answer to the opening of the connection within ",
                                  absl::FormatDuration(options_.connect_timeout))));
    }
    return End(ConnectionEvent::kConnectTimeout,
               absl::DeadlineExceededError(absl::StrCat(
                   "no greeting within ", absl::FormatDuration(options_.connect_timeout),
                   "; if the server sends none, remove message.greeting")));
  }
  if (pending_.empty()) {
    const absl::Duration left = options_.idle_timeout - (loop_.now() - idle_since_);
    if (left <= absl::ZeroDuration()) return End(ConnectionEvent::kIdleTimeout, absl::OkStatus());
    loop_.Arm(timer_, left);
    return;
  }
  const size_t before = pending_.size();
  absl::Duration left = ReplyTimeLeft();
  while (left <= absl::ZeroDuration()) {
    OnReplyTimeout();
    if (state_ == ConnectionState::kClosed) return;
    left = pending_.empty() ? options_.idle_timeout : ReplyTimeLeft();
  }
  loop_.Arm(timer_, left);
  if (pending_.size() < before) OnRepliesDelivered();
}

// Returns the deadline of the oldest request. Where replies come in order, any byte of a reply is
// progress; for a request without a reply, any byte that the server takes. The timeout stands still
// while a slow client holds up the server.
absl::Duration SharedConnection::ReplyTimeLeft() {
  if (read_state_ == ReadState::kPaused) return options_.reply_timeout;
  MonotonicTime since = pending_.front().sent_at;
  if (!id_field_) since = std::max(since, last_read_);
  if (pending_.front().replies == Replies::kNone) since = std::max(since, last_write_);
  return options_.reply_timeout - (loop_.now() - since);
}

// Where replies come in order, the oldest request blocks the others (head-of-line blocking), so the
// connection closes. With ids, the late request alone fails.
void SharedConnection::OnReplyTimeout() {
  if (pending_.front().replies == Replies::kMaybe) return DropMaybe(maybe_.size() - 1);
  counters_->reply_timeouts.Add();
  if (!id_field_) {
    End(ConnectionEvent::kReplyTimeout,
        absl::DeadlineExceededError(
            absl::StrCat(options_.codec->one_way() ? "it took no byte within " : "no reply within ",
                         absl::FormatDuration(options_.reply_timeout))));
    return;
  }
  const Pending late = pending_.TakeFront();
  if (late.client == nullptr) return;
  late.client->OnUnanswered({.reply_hint = late.reply_hint,
                             .written = true,
                             .number = late.number,
                             .timed_out = true,
                             .late = true,
                             .client_id = late.client_id});
}

}  // namespace trunkline
