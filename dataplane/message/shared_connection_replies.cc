// The reading half of SharedConnection: from the socket to the clients whose requests the replies
// answer.
#include <sys/socket.h>
#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/net/socket.h"
#include "dataplane/codec/codec.h"
#include "dataplane/codec/opening.h"
#include "dataplane/message/lifecycle.h"
#include "dataplane/message/message_id.h"
#include "dataplane/message/shared_connection.h"

namespace trunkline {
namespace {

constexpr size_t kReadBytes = 64 * 1024;
// Reads per pass, so that the worker's other connections get their turn.
constexpr int kReadsPerPass = 8;

// Has room in front: an edit that makes a reply longer moves its beginning there.
uint8_t* ReadBuffer() {
  thread_local std::vector<uint8_t> buffer(ReplyEdit::kMostGrowth + kReadBytes);
  return buffer.data() + ReplyEdit::kMostGrowth;
}

// Applies `edit` to the bytes from `begin` on; `parsed` is where the last Parse began. Returns the
// new beginning.
uint8_t* ApplyEdit(const ReplyEdit& edit, uint8_t* begin, uint8_t* parsed) {
  uint8_t* const place = parsed + edit.offset;
  uint8_t* const text = place + edit.replaced - edit.text.size();
  const auto before = static_cast<size_t>(place - begin);
  std::memmove(text - before, begin, before);
  std::copy(edit.text.begin(), edit.text.end(), text);
  return text - before;
}

}  // namespace

void SharedConnection::ReadAvailable() {
  for (int i = 0; i < kReadsPerPass && read_state_ != ReadState::kPaused; ++i) {
    const ssize_t n = recv(fd_.get(), ReadBuffer(), kReadBytes, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && WouldBlock(errno)) return;
    if (n == 0) return OnServerFin();
    if (n < 0) {
      return End(ConnectionEvent::kPeerClosed, absl::UnavailableError(ErrorText(errno)));
    }
    counters_->reads.Add();
    counters_->bytes_read.Add(n);
    last_read_ = loop_.now();
    if (!DeliverReplies({ReadBuffer(), static_cast<size_t>(n)})) return;
    // A short read emptied the socket, unless a FIN is behind it, which epoll does not report
    // again.
    if (static_cast<size_t>(n) < kReadBytes && !server_fin_) return;
  }
  ScheduleRead();
}

// While paused, Resume schedules the read.
void SharedConnection::ScheduleRead() {
  if (read_state_ == ReadState::kPaused) return;
  Apply(ReadEvent::kSchedule);
  loop_.RequestFlush(this);
}

bool SharedConnection::DeliverReplies(std::span<uint8_t> bytes) {
  Finding finding = Finding::kGood;
  if (state_ == ConnectionState::kGreeting) finding = TakeGreeting(&bytes);
  if (state_ == ConnectionState::kClosed) return false;
  if (finding == Finding::kGood && options_.codec->one_way()) {
    counters_->one_way_discarded_bytes.Add(bytes.size());
    return true;
  }
  if (finding == Finding::kGood && !bytes.empty()) {
    finding = id_field_ ? DeliverById(bytes) : DeliverInOrder(bytes);
  }
  if (state_ == ConnectionState::kClosed) return false;
  if (finding != Finding::kGood) {
    EndProtocolError(finding);
    return false;
  }
  OnRepliesDelivered();
  return state_ != ConnectionState::kClosed;
}

void SharedConnection::EndProtocolError(Finding finding) {
  counters_->protocol_errors.Add();
  if (finding == Finding::kUnasked) owner_->OnUnaskedBytes();
  End(ConnectionEvent::kProtocolError, absl::InvalidArgumentError(Describe(finding)));
}

std::string SharedConnection::Describe(Finding finding) const {
  const std::string codec(options_.codec->name());
  if (finding == Finding::kMalformed) {
    const char* const what = state_ == ConnectionState::kGreeting ? "greeting" : "reply";
    return absl::StrCat("the server sent bytes that are no ", what, " of ", codec, ": ", fault_);
  }
  const bool may_greet = codec == "delimiter" || codec == "length_field";
  return absl::StrCat("the server sent bytes that no request asked for: ", fault_, "; ",
                      may_greet && !options_.greeting
                          ? "if it greets each connection, set message.greeting: one_message"
                          : "if they are no error of the server, check that the codec fits it");
}

// Removes the server's greeting from the front of `bytes`.
SharedConnection::Finding SharedConnection::TakeGreeting(std::span<uint8_t>* bytes) {
  if (opening_ != nullptr) return TakeOpeningReply(bytes);
  const ParseStep step = parser_->Parse(*bytes);
  if (step.state == ParseState::kBroken) {
    fault_ = absl::StrCat(std::string(parser_->fault()), ", at byte ", step.used, " of a read");
    return Finding::kMalformed;
  }
  *bytes = bytes->subspan(step.used);
  if (step.state == ParseState::kEnd) Open(ConnectionEvent::kGreeted);
  return Finding::kGood;
}

// Delivers consecutive replies to the same client in one call.
SharedConnection::Finding SharedConnection::DeliverInOrder(std::span<uint8_t> bytes) {
  uint8_t* begin = bytes.data();  // the first byte that was not delivered
  size_t at = 0;
  uint32_t completed = 0;
  Client* client = nullptr;
  const auto undelivered = [&] { return static_cast<size_t>(bytes.data() + at - begin); };
  const auto deliver = [&](bool last) {
    uint8_t* const end = bytes.data() + at;
    const bool any = end > begin || completed > 0;
    if (client != nullptr && any) client->OnReply({begin, end}, completed, last);
    begin = end;
    completed = 0;
  };
  while (at < bytes.size()) {
    if (!AnswersRequest(bytes.subspan(at))) {
      deliver(false);
      return Finding::kUnasked;
    }
    if (pending_.front().client != client) {
      deliver(false);
      if (state_ == ConnectionState::kClosed) return Finding::kGood;
      client = pending_.front().client;
    }
    // Delivery may add or abandon requests, but the oldest stays the oldest.
    Pending& first = pending_.front();
    const bool fresh = !std::exchange(first.begun, true);
    if (fresh) {
      parser_->Begin(first.reply_hint);
      reply_bytes_ = 0;
    }
    const ParseStep step = parser_->Parse(bytes.subspan(at));
    reply_bytes_ += step.used;
    const Reply reply = parser_->reply();
    if (step.state == ParseState::kBroken || reply.unasked) {
      SetFault(step, reply_bytes_);
      // Deliver the replies before it, but no byte of it.
      first.begun = !fresh;
      deliver(false);
      return reply.unasked ? Finding::kUnasked : Finding::kMalformed;
    }
    if (fresh && client != nullptr) {
      client->OnReplyBegins(first.arrived_at);
      NoteStep(first, Step::kReplyBegins, undelivered());
    }
    if (reply.delivery != Reply::Delivery::kWanted) {
      deliver(false);
      if (state_ == ConnectionState::kClosed) return Finding::kGood;
      client = pending_.front().client;
      begin += step.used;
    }
    begin = KeepUndecided(bytes.subspan(at, step.used), reply.delivery, begin);
    const ReplyEdit edit = parser_->edit();
    if (!edit.text.empty()) begin = ApplyEdit(edit, begin, bytes.data() + at);
    at += step.used;
    if (step.state != ParseState::kEnd) break;
    counters_->replies.Add();
    if (client == nullptr) counters_->replies_discarded.Add();
    ++completed;
    NoteStep(pending_.TakeFront(), Step::kReplyEnds, undelivered());
    if (reply.last || request_state_ != RequestState::kComplete) {
      Apply(ConnectionEvent::kLastReply);
      deliver(true);
      if (state_ != ConnectionState::kClosed) End(ConnectionEvent::kDrained, absl::OkStatus());
      return Finding::kGood;
    }
  }
  deliver(false);
  return Finding::kGood;
}

// Returns false if no request asked for `bytes`. A reply cannot precede its request: the server
// sent such bytes unasked.
bool SharedConnection::AnswersRequest(std::span<const uint8_t> bytes) {
  if (!pending_.empty() && IsAsked(pending_.front())) return true;
  const bool sent_nothing = written_ == 0 && options_.codec->Opening(options_.variant).empty();
  fault_ = absl::StrCat(
      bytes.size(),
      pending_.empty() ? " bytes answer no request" : " bytes came before their request was sent",
      sent_nothing ? QuoteForLog(bytes) : std::string());
  return false;
}

// Keeps the beginning of a reply until the parser knows whether the client wants it. `piece` was
// parsed last, and `begin` is the first byte to deliver. Returns the new one: bytes that were kept
// move in front of it, which is the beginning of a read.
uint8_t* SharedConnection::KeepUndecided(std::span<const uint8_t> piece, Reply::Delivery delivery,
                                         uint8_t* begin) {
  if (delivery == Reply::Delivery::kUndecided) {
    undecided_.insert(undecided_.end(), piece.begin(), piece.end());
    return begin;
  }
  if (delivery == Reply::Delivery::kWanted)
    begin = std::copy_backward(undecided_.begin(), undecided_.end(), begin);
  undecided_.clear();
  return begin;
}

// `offset`: of the end of `step` in its reply.
void SharedConnection::SetFault(const ParseStep& step, uint64_t offset) {
  fault_ = step.state == ParseState::kBroken
               ? absl::StrCat(std::string(parser_->fault()), ", at byte ", offset, " of the reply")
               : "a push that answers no request";
}

// Messages with an id are small, so they are buffered until they are complete.
SharedConnection::Finding SharedConnection::DeliverById(std::span<uint8_t> bytes) {
  size_t begin = 0;
  size_t at = 0;
  while (at < bytes.size()) {
    const ParseStep step = parser_->Parse(bytes.subspan(at));
    if (step.state == ParseState::kBroken) {
      SetFault(step, partial_.size() + at - begin + step.used);
      return Finding::kMalformed;
    }
    at += step.used;
    if (step.state != ParseState::kEnd) break;
    const std::span<uint8_t> piece = bytes.subspan(begin, at - begin);
    begin = at;
    bool good = false;
    if (partial_.empty()) {
      good = DeliverMessage(piece);
    } else {
      partial_.insert(partial_.end(), piece.begin(), piece.end());
      std::vector<uint8_t> whole = std::exchange(partial_, {});
      good = DeliverMessage(whole);
    }
    if (!good) return Finding::kMalformed;
    if (state_ == ConnectionState::kClosed) return Finding::kGood;
  }
  partial_.insert(partial_.end(), bytes.begin() + static_cast<ptrdiff_t>(begin), bytes.end());
  return Finding::kGood;
}

// Returns false if it is too short for an id.
bool SharedConnection::DeliverMessage(std::span<uint8_t> message) {
  if (message.size() < id_field_->offset + id_field_->size) {
    fault_ = absl::StrCat("a message of ", message.size(), " bytes has no room for its id");
    return false;
  }
  uint8_t* const place = message.data() + id_field_->offset;
  const uint64_t id = ReadId(place, id_field_->size);
  const Pending* const asked = pending_.Find(id);
  if (asked == nullptr || !IsAsked(*asked)) {
    counters_->replies_unmatched.Add();
    return true;
  }
  const Pending answered = pending_.TakeId(id);
  if (answered.replies == Replies::kMaybe) std::erase(maybe_, id);
  counters_->replies.Add();
  if (answered.client == nullptr) {
    counters_->replies_discarded.Add();
    return true;
  }
  WriteId(answered.client_id, place, id_field_->size);
  answered.client->OnReplyBegins(answered.arrived_at);
  NoteStep(answered, Step::kReplyBegins, 0);
  NoteStep(answered, Step::kReplyEnds, message.size());
  answered.client->OnReply(message, 1, /*last=*/false);
  return true;
}

void SharedConnection::OnRepliesDelivered() {
  if (pending_.empty()) {
    idle_since_ = loop_.now();
    // Otherwise the armed reply timer fires early enough to check.
    if (options_.idle_timeout < options_.reply_timeout) loop_.Arm(timer_, options_.idle_timeout);
  }
  if (HasRoom() || (retiring_ && idle())) owner_->OnConnectionRoom(*this);
}

void SharedConnection::OnServerFin() {
  const bool ends_reply =
      !id_field_ && !pending_.empty() && pending_.front().begun && parser_->EndsAtClose();
  if (ends_reply) {
    counters_->replies.Add();
    Apply(ConnectionEvent::kLastReply);
    const Pending answered = pending_.TakeFront();
    NoteStep(answered, Step::kReplyEnds, 0);
    if (answered.client != nullptr) answered.client->OnReply({}, 1, /*last=*/true);
    if (state_ == ConnectionState::kClosed) return;
  }
  if (state_ == ConnectionState::kGreeting) {
    return End(
        ConnectionEvent::kPeerClosed,
        absl::UnavailableError(
            opening_ != nullptr ? "the server closed the connection before it answered the opening"
                                : "the server closed the connection before its greeting"));
  }
  const bool orderly = pending_.empty();
  End(state_ == ConnectionState::kDraining ? ConnectionEvent::kDrained
                                           : ConnectionEvent::kPeerClosed,
      orderly
          ? absl::OkStatus()
          : absl::UnavailableError(options_.codec->one_way()
                                       ? "the server closed the connection while messages waited"
                                       : "the server closed the connection before its reply"));
}

}  // namespace trunkline
