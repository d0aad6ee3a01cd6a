#include "dataplane/message/shared_connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace trunkline {
namespace {

constexpr size_t kReadBytes = 64 * 1024;
// Reads in a pass, so that the worker's other connections get their turn.
constexpr int kReadsPerPass = 8;
// Unsent bytes at which no more requests are taken: what the server does not read stays with the
// clients.
constexpr size_t kHighWaterBytes = 256 * 1024;
constexpr unsigned kBitsPerByte = 8;
constexpr unsigned kNoIdBits = 64;

// With room in front: the beginning of a reply moves there when something is put into it.
uint8_t* ReadBuffer() {
  thread_local std::vector<uint8_t> buffer(ReplyEdit::kMostGrowth + kReadBytes);
  return buffer.data() + ReplyEdit::kMostGrowth;
}

// Of the bytes from `begin` on; `parsed` is where the parser was. Returns where they begin now.
uint8_t* Apply(const ReplyEdit& edit, uint8_t* begin, uint8_t* parsed) {
  uint8_t* const place = parsed + edit.offset;
  uint8_t* const text = place + edit.replaced - edit.text.size();
  const auto before = static_cast<size_t>(place - begin);
  std::memmove(text - before, begin, before);
  std::copy(edit.text.begin(), edit.text.end(), text);
  return text - before;
}

uint64_t ReadId(const uint8_t* at, size_t size) {
  uint64_t id = 0;
  for (size_t i = 0; i < size; ++i) id = id << kBitsPerByte | at[i];
  return id;
}

void WriteId(uint64_t id, uint8_t* at, size_t size) {
  for (size_t i = size; i > 0; --i, id >>= kBitsPerByte) at[i - 1] = static_cast<uint8_t>(id);
}

// With ids half of the numbers stay free, so that one is not used again soon after it was given up.
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
      lease_(std::move(lease)),
      owner_(owner),
      counters_(counters),
      parser_(options.codec->NewReplyParser()),
      pending_(Capacity(options, id_field_),
               id_field_ ? static_cast<unsigned>(id_field_->size) * kBitsPerByte : kNoIdBits),
      last_read_(loop.now()),
      idle_since_(loop.now()) {
  fd_ = std::move(dial.fd);
  dial_error_ = dial.error;
  // Tells of itself even where the connect is through already.
  constexpr uint32_t kWatched = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  if (fd_ && !loop_.Add(fd_.get(), kWatched, this).ok()) {
    fd_.Reset();
    dial_error_ = ENOSPC;
  }
  loop_.Arm(timer_, fd_ ? options_.connect_timeout : absl::ZeroDuration());
}

SharedConnection::~SharedConnection() { loop_.CancelFlush(this); }

bool SharedConnection::HasRoom() const {
  return state_ != State::kEnded && !ending_ && !request_open_ && !paused_ && !pending_.full() &&
         output_.size() < kHighWaterBytes;
}

void SharedConnection::Send(Client* client, std::span<const uint8_t> request, const Request& traits,
                            bool open) {
  counters_->requests.Add();
  Pending pending{.client = client,
                  .begin = appended_,
                  .size = static_cast<uint32_t>(request.size()),
                  .reply_hint = traits.reply_hint,
                  .sent_at = loop_.now()};
  if (id_field_) pending.client_id = ReadId(request.data() + id_field_->offset, id_field_->size);
  uint8_t* const place = output_.Reserve(request.size());
  std::copy(request.begin(), request.end(), place);
  std::fill_n(place + traits.blank_offset, traits.blank_size, ' ');
  if (options_.idempotent && !open) pending.copy.assign(place, place + request.size());
  const bool was_idle = pending_.empty();
  const uint64_t id = pending_.Add(std::move(pending));
  if (id_field_) WriteId(id, place + id_field_->offset, id_field_->size);
  output_.Commit(request.size());
  appended_ += request.size();
  request_open_ = open;
  if (was_idle) {
    // The server may have closed it a moment ago: that is seen before anything is written.
    read_put_off_ = true;
    if (state_ == State::kUp) loop_.Arm(timer_, options_.reply_timeout);
  }
  loop_.RequestFlush(this);
}

bool SharedConnection::SendMore(std::span<const uint8_t> bytes, bool open) {
  output_.Append(bytes.data(), bytes.size());
  appended_ += bytes.size();
  pending_.front().size += bytes.size();
  pending_.front().sent_at = loop_.now();
  request_open_ = open;
  loop_.RequestFlush(this);
  wants_room_ = open && output_.size() >= kHighWaterBytes;
  return !wants_room_;
}

void SharedConnection::Abandon(Client* client) {
  if (state_ == State::kEnded) return;
  pending_.ForEach([&](Pending& pending) {
    if (pending.client == client) pending.client = nullptr;
  });
  wants_room_ = false;
  // Where nobody else uses the connection, an end is cheaper than a long reply to nobody; and a
  // request that is cut short leaves it useless.
  if (one_at_a_time_ && !pending_.empty()) {
    End(/*never_up=*/false, absl::OkStatus());
    return;
  }
  if (paused_) Resume();
}

bool SharedConnection::PauseFor(Client* client) {
  bool alone = true;
  pending_.ForEach([&](const Pending& pending) {
    alone = alone && (pending.client == client || pending.client == nullptr);
  });
  paused_ = alone && !owner_->HasWaiters();
  return paused_;
}

void SharedConnection::Resume() {
  if (!std::exchange(paused_, false)) return;
  last_read_ = loop_.now();
  PutOffRead();
}

void SharedConnection::Close() { End(/*never_up=*/false, absl::OkStatus()); }

void SharedConnection::OnEvents(uint32_t events) {
  if (state_ == State::kEnded) return;
  if (state_ == State::kConnecting) {
    if (const int error = SocketError(fd_.get()); error != 0) {
      End(/*never_up=*/true, absl::UnavailableError(ErrorText(error)));
      return;
    }
    if (!(events & EPOLLOUT)) return;
    state_ = State::kUp;
    idle_since_ = loop_.now();
    ArmTimer();
    owner_->OnConnectionUp(*this);
  }
  if (events & EPOLLOUT) writable_ = true;
  if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) server_fin_ = true;
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) ReadAvailable();
  if (state_ == State::kUp && !output_.empty()) loop_.RequestFlush(this);
}

void SharedConnection::OnFlush() {
  if (state_ != State::kUp) return;
  if (std::exchange(read_put_off_, false)) ReadAvailable();
  if (state_ == State::kUp) SendOutput();
}

void SharedConnection::SendOutput() {
  while (writable_ && !output_.empty()) {
    const ssize_t n = send(fd_.get(), output_.data(), output_.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      writable_ = false;
      // Broken: what the server said before that is read first, and its end ends this.
      if (errno != EAGAIN) {
        server_fin_ = true;
        PutOffRead();
      }
      break;
    }
    counters_->writes.Add();
    counters_->bytes_written.Add(n);
    written_ += static_cast<uint64_t>(n);
    output_.Consume(static_cast<size_t>(n));
  }
  output_.Shrink();
  if (wants_room_ && output_.size() < kHighWaterBytes / 2 && !pending_.empty()) {
    wants_room_ = false;
    if (Client* client = pending_.front().client; client != nullptr) client->OnRoom();
  }
}

void SharedConnection::ReadAvailable() {
  for (int i = 0; i < kReadsPerPass && !paused_; ++i) {
    const ssize_t n = recv(fd_.get(), ReadBuffer(), kReadBytes, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n == 0) return OnServerFin();
    if (n < 0) return End(/*never_up=*/false, absl::UnavailableError(ErrorText(errno)));
    counters_->reads.Add();
    counters_->bytes_read.Add(n);
    last_read_ = loop_.now();
    if (!TakeReplies({ReadBuffer(), static_cast<size_t>(n)})) return;
    // A short read emptied the socket, unless its end waits behind: of that, epoll does not tell
    // again.
    if (static_cast<size_t>(n) < kReadBytes && !server_fin_) return;
  }
  // A slow client's Resume asks for the rest.
  if (!paused_) PutOffRead();
}

void SharedConnection::PutOffRead() {
  read_put_off_ = true;
  loop_.RequestFlush(this);
}

// False: the connection has ended.
bool SharedConnection::TakeReplies(std::span<uint8_t> bytes) {
  const bool good = id_field_ ? TakeById(bytes) : TakeInOrder(bytes);
  if (state_ == State::kEnded) return false;
  if (!good) {
    counters_->protocol_errors.Add();
    End(/*never_up=*/false,
        absl::InvalidArgumentError(absl::StrCat("what the server sent is no reply of ",
                                                std::string(options_.codec->name()))));
    return false;
  }
  OnReplyDone();
  return state_ != State::kEnded;
}

// Runs of replies to the same client go to it in one piece.
bool SharedConnection::TakeInOrder(std::span<uint8_t> bytes) {
  uint8_t* begin = bytes.data();  // of what has not been given to anybody
  size_t at = 0;
  uint32_t completed = 0;
  Client* client = nullptr;
  const auto give = [&](bool last) {
    uint8_t* const end = bytes.data() + at;
    if (client != nullptr && end > begin) client->OnReply({begin, end}, completed, last);
    begin = end;
    completed = 0;
  };
  while (at < bytes.size()) {
    if (pending_.empty()) {
      give(false);
      return state_ == State::kEnded;
    }
    Pending& pending = pending_.front();
    if (pending.client != client) {
      give(false);
      if (state_ == State::kEnded) return true;
      client = pending_.front().client;
    }
    // Giving may have changed what is pending, but not who is first.
    Pending& first = pending_.front();
    const bool fresh = !std::exchange(first.begun, true);
    if (fresh) parser_->Begin(first.reply_hint);
    const ParseStep step = parser_->Parse(bytes.subspan(at));
    if (step.state == ParseState::kBroken || parser_->reply().unasked) {
      // Of what is no reply, nothing is given.
      first.begun = !fresh;
      give(false);
      return false;
    }
    const ReplyEdit edit = parser_->edit();
    if (!edit.text.empty()) begin = Apply(edit, begin, bytes.data() + at);
    at += step.used;
    if (step.state != ParseState::kEnd) break;
    counters_->replies.Add();
    if (client == nullptr) counters_->replies_discarded.Add();
    const bool last = parser_->reply().last;
    ++completed;
    pending_.TakeFront();
    if (last || request_open_) {
      ending_ = true;
      give(true);
      if (state_ != State::kEnded) End(/*never_up=*/false, absl::OkStatus());
      return true;
    }
  }
  give(false);
  return true;
}

// Messages with an id are small and held whole.
bool SharedConnection::TakeById(std::span<uint8_t> bytes) {
  size_t begin = 0;
  size_t at = 0;
  while (at < bytes.size()) {
    const ParseStep step = parser_->Parse(bytes.subspan(at));
    if (step.state == ParseState::kBroken) return false;
    at += step.used;
    if (step.state != ParseState::kEnd) break;
    const std::span<uint8_t> piece = bytes.subspan(begin, at - begin);
    begin = at;
    bool good = false;
    if (partial_.empty()) {
      good = DeliverById(piece);
    } else {
      partial_.insert(partial_.end(), piece.begin(), piece.end());
      std::vector<uint8_t> whole = std::exchange(partial_, {});
      good = DeliverById(whole);
    }
    if (!good || state_ == State::kEnded) return good;
  }
  partial_.insert(partial_.end(), bytes.begin() + static_cast<ptrdiff_t>(begin), bytes.end());
  return true;
}

bool SharedConnection::DeliverById(std::span<uint8_t> message) {
  if (message.size() < id_field_->offset + id_field_->size) return false;
  uint8_t* const place = message.data() + id_field_->offset;
  const uint64_t id = ReadId(place, id_field_->size);
  if (pending_.Find(id) == nullptr) {
    counters_->replies_unmatched.Add();
    return true;
  }
  const Pending answered = pending_.TakeId(id);
  counters_->replies.Add();
  if (answered.client == nullptr) {
    counters_->replies_discarded.Add();
    return true;
  }
  WriteId(answered.client_id, place, id_field_->size);
  answered.client->OnReply(message, 1, /*last=*/false);
  return true;
}

// After a batch of replies: there may be room, or nothing to wait for.
void SharedConnection::OnReplyDone() {
  if (pending_.empty()) {
    idle_since_ = loop_.now();
    // Else the timer of the reply comes early enough to look.
    if (options_.idle_timeout < options_.reply_timeout) loop_.Arm(timer_, options_.idle_timeout);
  }
  if (HasRoom()) owner_->OnConnectionRoom(*this);
}

void SharedConnection::OnServerFin() {
  const bool ends_reply =
      !id_field_ && !pending_.empty() && pending_.front().begun && parser_->EndsAtClose();
  if (ends_reply) {
    counters_->replies.Add();
    ending_ = true;
    const Pending answered = pending_.TakeFront();
    if (answered.client != nullptr) answered.client->OnReply({}, 1, /*last=*/true);
    if (state_ == State::kEnded) return;
  }
  const bool orderly = pending_.empty();
  End(/*never_up=*/false,
      orderly ? absl::OkStatus() : absl::UnavailableError("the server closed it before its reply"));
}

void SharedConnection::ArmTimer() {
  loop_.Arm(timer_, pending_.empty() ? options_.idle_timeout : options_.reply_timeout);
}

void SharedConnection::OnTimer() {
  if (state_ == State::kEnded) return;
  if (state_ == State::kConnecting) {
    End(/*never_up=*/true, fd_ ? absl::DeadlineExceededError("no answer to the connect")
                               : absl::UnavailableError(ErrorText(dial_error_)));
    return;
  }
  if (pending_.empty()) {
    const absl::Duration left = options_.idle_timeout - (loop_.now() - idle_since_);
    if (left <= absl::ZeroDuration()) return End(/*never_up=*/false, absl::OkStatus());
    loop_.Arm(timer_, left);
    return;
  }
  const size_t before = pending_.size();
  absl::Duration left = ReplyTimeLeft();
  while (left <= absl::ZeroDuration()) {
    OnReplyTimeout();
    if (state_ == State::kEnded) return;
    left = pending_.empty() ? options_.idle_timeout : ReplyTimeLeft();
  }
  loop_.Arm(timer_, left);
  if (pending_.size() < before) OnReplyDone();
}

// Of the oldest. In order, any byte of a reply is progress; a server that has to wait for a slow
// client has all the time.
absl::Duration SharedConnection::ReplyTimeLeft() {
  if (paused_) return options_.reply_timeout;
  MonotonicTime since = pending_.front().sent_at;
  if (!id_field_) since = std::max(since, last_read_);
  return options_.reply_timeout - (loop_.now() - since);
}

// In order, the oldest holds up all others; with ids they have a time of their own.
void SharedConnection::OnReplyTimeout() {
  counters_->reply_timeouts.Add();
  if (!id_field_) {
    End(/*never_up=*/false, absl::DeadlineExceededError(absl::StrCat(
                                "no reply within ", absl::FormatDuration(options_.reply_timeout))));
    return;
  }
  const Pending late = pending_.TakeFront();
  if (late.client != nullptr) late.client->OnUnanswered({.written = true});
}

// Any byte of it.
bool SharedConnection::Written(const Pending& pending) const {
  return pending.begin < written_ || request_open_;
}

// As the client called it.
std::vector<uint8_t> SharedConnection::Resendable(const Pending& pending) const {
  std::vector<uint8_t> request;
  if (!Written(pending)) {
    const uint8_t* const unsent = output_.data() + (pending.begin - written_);
    request.assign(unsent, unsent + pending.size);
  } else if (!pending.begun) {
    request = pending.copy;
  }
  if (id_field_ && !request.empty()) {
    WriteId(pending.client_id, request.data() + id_field_->offset, id_field_->size);
  }
  return request;
}

void SharedConnection::End(bool never_up, const absl::Status& why) {
  if (state_ == State::kEnded) return;
  state_ = State::kEnded;
  timer_.Cancel();
  fd_.Reset();
  lease_.Reset();
  owner_->OnConnectionEnded(*this, never_up, why);
  FailPending();
}

void SharedConnection::FailPending() {
  while (!pending_.empty()) {
    const Pending pending = pending_.TakeFront();
    if (pending.client == nullptr) continue;
    const std::vector<uint8_t> request = Resendable(pending);
    if (!request.empty()) counters_->resent.Add();
    pending.client->OnUnanswered({.request = request,
                                  .reply_hint = pending.reply_hint,
                                  .written = Written(pending),
                                  .begun = pending.begun});
  }
}

}  // namespace trunkline
