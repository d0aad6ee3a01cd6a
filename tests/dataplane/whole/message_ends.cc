#include "tests/dataplane/whole/message_ends.h"

#include <sys/socket.h>
#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/random.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/seeded_messages.h"

namespace trunkline::test {
namespace {

// More than the 64 KiB that the proxy takes in one read.
constexpr size_t kLargeRequest = 90'000;
constexpr size_t kMostRead = 20'000;
// Bytes of replies in flight per client, below the proxy's limit for a slow client.
constexpr uint64_t kMostUnanswered = 300'000;
// Bytes after which a server resets: some dozens of replies.
constexpr uint64_t kMostBeforeBreak = 60'000;
constexpr size_t kMostUnsent = 256 * 1024;

// Mostly small pieces, sometimes more than the proxy takes in one read.
size_t PieceSize(FastRandom& random) {
  return 1 + random.Next() % (random.Next() % 8 == 0 ? 80'000 : 300);
}

size_t RollRequests(FastRandom& random) {
  const uint64_t dice = random.Next() % 64;
  return 1 + random.Next() % (dice == 0 ? 400 : dice < 16 ? 40 : 4);
}

bool InOrder(Framing framing) { return framing != Framing::kFramesWithId; }

std::string Shown(const std::string& content) {
  return absl::StrCat(content.size(), " bytes: ", absl::CEscape(content.substr(0, kNamedBytes)));
}

}  // namespace

AskingEnd::AskingEnd(Peer peer, Framing framing, uint64_t client, uint64_t seed)
    : framing_(framing),
      client_(client),
      peer_(std::move(peer)),
      random_(seed),
      unwrapper_(framing) {
  const size_t requests = RollRequests(random_);
  window_ = random_.Next() % 2 == 0 ? 1 : 1 + random_.Next() % requests;
  uint64_t up = 0;
  uint64_t down = 0;
  for (uint32_t i = 0; i < requests; ++i) {
    const std::string content = RequestOf(client, i, kLargeRequest);
    exchanges_.push_back({.request = WrapRequest(framing, static_cast<uint16_t>(i), content),
                          .answer = AnswerTo(content)});
    up += exchanges_.back().request.size();
    down += exchanges_.back().answer.size();
  }
  RollParting(up, down);
}

void AskingEnd::RollParting(uint64_t up, uint64_t down) {
  const uint64_t dice = random_.Next() % 8;
  parting_ = dice < 3   ? Parting::kStays
             : dice < 5 ? Parting::kFin
             : dice < 7 ? Parting::kResets
                        : Parting::kCloses;
  expected_ = exchanges_.size();
  if (parting_ == Parting::kStays) return;
  if (parting_ == Parting::kFin) {
    const bool asks_all = random_.Next() % 2 == 0;
    stop_after_ = asks_all ? up : random_.Next() % (up + 1);
    expected_ = 0;
    for (uint64_t end = 0; expected_ < exchanges_.size(); ++expected_) {
      end += exchanges_[expected_].request.size();
      if (end > stop_after_) break;
    }
    return;
  }
  deaf_ = random_.Next() % 2 == 0;
  if (deaf_) window_ = exchanges_.size();
  stop_after_ = random_.Next() % ((deaf_ ? up : up + down) + 1);
}

// Returns true if a request may begin or continue.
bool AskingEnd::MayAsk() const {
  if (asked_ == exchanges_.size() || MaySend() == 0) return false;
  const bool has_room = deaf_ || unanswered_bytes_ < kMostUnanswered;
  return offset_ > 0 || (asked_ - answered_ < window_ && has_room);
}

uint64_t AskingEnd::MaySend() const {
  if (parting_ == Parting::kStays) return UINT64_MAX;
  const uint64_t done = (parting_ == Parting::kFin ? sent_ : moved_) + piece_.size();
  return stop_after_ - std::min(stop_after_, done);
}

bool AskingEnd::Step() {
  if (wants_to_write()) Send();
  if (wants_to_read()) Receive();
  if (over_) return false;
  const bool leaves = parting_ == Parting::kResets || parting_ == Parting::kCloses;
  if (leaves && (moved_ >= stop_after_ || (deaf_ && blocked_))) {
    Leave();
  } else if (parting_ == Parting::kStays && answered_ == expected_) {
    outcome_ = Outcome::kServed;
    Leave();
  }
  return !over_;
}

void AskingEnd::Leave() {
  over_ = true;
  parting_ == Parting::kResets ? peer_.Reset() : peer_.Close();
}

void AskingEnd::Fail(const std::string& fault) {
  outcome_ = Outcome::kWrong;
  fault_ = absl::StrCat("client ", client_, ", reply ", answered_, ": ", fault);
  over_ = true;
  peer_.Close();
}

void AskingEnd::FillPiece() {
  const size_t size = PieceSize(random_);
  while (piece_.size() < size && MayAsk()) {
    const Exchanged& exchange = exchanges_[asked_];
    if (offset_ == 0) unanswered_bytes_ += exchange.answer.size();
    const uint64_t most = std::min<uint64_t>(MaySend(), size - piece_.size());
    const std::string part = exchange.request.substr(offset_, most);
    piece_ += part;
    offset_ += part.size();
    if (offset_ < exchange.request.size()) continue;
    ++asked_;
    offset_ = 0;
  }
}

void AskingEnd::Send() {
  if (piece_.empty()) FillPiece();
  if (!piece_.empty()) {
    const size_t taken = peer_.SendWhatFits(piece_);
    if (peer_.send_failed()) return End(/*reset=*/true);
    blocked_ = taken < piece_.size();
    moved_ += taken;
    sent_ += taken;
    piece_.erase(0, taken);
  }
  if (parting_ != Parting::kFin || sent_ < stop_after_) return;
  fin_sent_ = true;
  peer_.ShutdownWrite();
}

void AskingEnd::Receive() {
  char bytes[kMostRead];
  const ssize_t n = recv(fd(), bytes, 1 + random_.Next() % sizeof bytes, MSG_DONTWAIT);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) return End(/*reset=*/n < 0);
  moved_ += static_cast<uint64_t>(n);
  unwrapper_.Append(bytes, static_cast<size_t>(n));
  while (!over_) {
    const std::optional<Unwrapper::Message> message = unwrapper_.Next();
    if (!message) break;
    Check(*message);
  }
}

void AskingEnd::Check(const Unwrapper::Message& message) {
  if (got_local_reply_) return Fail("bytes behind a local reply: " + Shown(message.content));
  // The quiet command in front of a request may be lost before the request is complete.
  const bool asks_quietly = framing_ == Framing::kMemcached && offset_ > 0;
  got_local_reply_ = message.local_reply && (answered_ < asked_ || asks_quietly);
  if (got_local_reply_) return;
  const size_t index = InOrder(framing_) ? answered_ : message.id;
  if (index >= asked_) return Fail("unsolicited: " + Shown(message.content));
  Exchanged& exchange = exchanges_[index];
  if (exchange.answered) return Fail("twice: " + Shown(message.content));
  if (message.content != exchange.answer) {
    return Fail(Shown(message.content) + " and not " + Shown(exchange.answer));
  }
  exchange.answered = true;
  ++answered_;
  unanswered_bytes_ -= exchange.answer.size();
}

// Returns true if the buffered bytes begin an expected reply.
bool AskingEnd::RestIsRight() const {
  const std::string& rest = unwrapper_.rest();
  if (rest.size() < sizeof(uint16_t) && !InOrder(framing_)) return true;
  const size_t index = InOrder(framing_) ? answered_
                                         : size_t{static_cast<uint8_t>(rest[0])} << 8 |
                                               static_cast<uint8_t>(rest[1]);
  if (index >= asked_) return rest.empty();
  const Exchanged& exchange = exchanges_[index];
  const std::string whole = WrapReply(framing_, static_cast<uint16_t>(index), exchange.answer);
  return !exchange.answered && whole.compare(0, rest.size(), rest) == 0;
}

void AskingEnd::End(bool reset) {
  if (!RestIsRight()) return Fail("its beginning is " + Shown(unwrapper_.rest()));
  if (got_local_reply_ && reset) return Fail("a reset behind a local reply");
  const bool whole = answered_ == expected_ && unwrapper_.rest().empty() && fin_sent_;
  outcome_ = got_local_reply_ ? Outcome::kLocalReply
             : reset          ? Outcome::kReset
             : whole          ? Outcome::kServed
                              : Outcome::kCutShort;
  over_ = true;
  peer_.Close();
}

AnsweringEnd::AnsweringEnd(Peer peer, Framing framing, bool breaks, uint64_t seed)
    : framing_(framing), peer_(std::move(peer)), random_(seed), unwrapper_(framing) {
  if (!breaks) return;
  break_after_ = random_.Next() % kMostBeforeBreak;
  between_ = random_.Next() % 2 == 0;
  resets_ = random_.Next() % 2 == 0;
}

bool AnsweringEnd::Step() {
  if (!Receive()) {
    peer_.Close();
    return false;
  }
  Answer();
  Flush();
  if (!BreaksNow()) return true;
  resets_ ? peer_.Reset() : peer_.Close();
  return false;
}

bool AnsweringEnd::Receive() {
  char bytes[kMostRead];
  const ssize_t n = recv(fd(), bytes, 1 + random_.Next() % sizeof bytes, MSG_DONTWAIT);
  if (n < 0 && errno == EAGAIN) return true;
  if (n <= 0) return false;
  unwrapper_.Append(bytes, static_cast<size_t>(n));
  while (std::optional<Unwrapper::Message> message = unwrapper_.Next()) {
    const bool named = message->content.size() >= kNamedBytes;
    if (named) executed_.push_back(std::hash<std::string>()(message->content));
    queue_.push_back(*std::move(message));
  }
  return true;
}

// Answers up to five of the waiting requests.
void AnsweringEnd::Answer() {
  for (uint64_t left = random_.Next() % 6; left > 0 && !queue_.empty(); --left) {
    if (out_.size() > kMostUnsent) return;
    const size_t index = InOrder(framing_) ? 0 : random_.Next() % queue_.size();
    const auto next = queue_.begin() + static_cast<ptrdiff_t>(index);
    out_ += WrapReply(framing_, next->id, AnswerTo(next->content));
    queue_.erase(next);
  }
}

void AnsweringEnd::Flush() {
  if (out_.empty()) return;
  size_t size = std::min(out_.size(), PieceSize(random_));
  if (!between_) size = std::min<uint64_t>(size, break_after_ - sent_);
  const size_t taken = peer_.SendWhatFits(out_.substr(0, size));
  sent_ += taken;
  out_.erase(0, taken);
}

bool AnsweringEnd::BreaksNow() const {
  return sent_ >= break_after_ && !(between_ && !out_.empty());
}

}  // namespace trunkline::test
