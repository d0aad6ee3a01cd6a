// How a shared connection and requests without a reply end.
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "dataplane/codec/codec.h"
#include "dataplane/message/lifecycle.h"
#include "dataplane/message/message_id.h"
#include "dataplane/message/shared_connection.h"

namespace trunkline {

void SharedConnection::EndWithoutReply(const Pending& pending, Step step) {
  if (pending.client == nullptr) return;
  NoteStep(pending, step, 0);
  pending.client->OnReply({}, 1, /*last=*/false);
}

// Ends the requests without replies that the kernel has taken.
void SharedConnection::EndWrittenOneWay() {
  bool any = false;
  while (!one_way_.empty()) {
    const Pending& first = *pending_.Find(one_way_.front());
    if (first.begin + first.size > written_) break;
    const Pending ended = pending_.TakeId(one_way_.front());
    one_way_.pop_front();
    EndWithoutReply(ended, Step::kEndsSilently);
    any = true;
  }
  if (any) OnRepliesDelivered();
}

// A client that has left after such a request need not stay for its reply.
void SharedConnection::NoteWrittenMaybe() {
  for (const uint64_t id : maybe_) {
    Pending& pending = *pending_.Find(id);
    const bool written = pending.begin + pending.size <= written_;
    if (!written || std::exchange(pending.noted, true) || pending.client == nullptr) continue;
    pending.client->OnReply({}, 0, /*last=*/false);
  }
}

// Ends the oldest requests whose reply may come or not, as if none had come.
void SharedConnection::DropMaybe(size_t most) {
  while (maybe_.size() > most) {
    const Pending pending = pending_.TakeId(maybe_.front());
    maybe_.pop_front();
    EndWithoutReply(pending, Step::kEndsSilently);
  }
}

// Returns true if the server may have seen any byte of the request, or if the request is
// incomplete: such a request cannot be sent again.
bool SharedConnection::Written(const Pending& pending) const {
  return IsAsked(pending) || request_state_ != RequestState::kComplete;
}

// Returns the request with the client's own id, or nothing if it may not be sent again.
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

void SharedConnection::End(ConnectionEvent event, const absl::Status& why) {
  if (state_ == ConnectionState::kClosed) return;
  const bool never_up =
      event == ConnectionEvent::kDialFailed || event == ConnectionEvent::kConnectTimeout ||
      (state_ == ConnectionState::kGreeting && event != ConnectionEvent::kOwnerClosed);
  const bool opens = state_ == ConnectionState::kGreeting && opening_ != nullptr;
  if (opens && never_up && opening_end_ == OpeningEnd::kNone) opening_end_ = OpeningEnd::kRefused;
  Apply(event);
  timer_.Cancel();
  fd_.Reset();
  lease_.Reset();
  owner_->OnConnectionEnded(*this, never_up, why);
  FailPending(/*reply_timed_out=*/event == ConnectionEvent::kReplyTimeout);
}

// `reply_timed_out`: the reply to the oldest request.
void SharedConnection::FailPending(bool reply_timed_out) {
  maybe_.clear();
  one_way_.clear();
  while (!pending_.empty()) {
    const Pending pending = pending_.TakeFront();
    const bool timed_out = std::exchange(reply_timed_out, false);
    if (pending.client == nullptr) continue;
    const std::vector<uint8_t> request = Resendable(pending);
    if (request.empty() && pending.replies != Replies::kOne) {
      EndWithoutReply(pending, pending.noted ? Step::kEndsSilently : Step::kLost);
      continue;
    }
    if (!request.empty()) counters_->resent.Add();
    pending.client->OnUnanswered({.request = request,
                                  .reply_hint = pending.reply_hint,
                                  .repeatable = pending.repeatable,
                                  .replies = pending.replies,
                                  .written = Written(pending),
                                  .begun = pending.begun,
                                  .arrived_at = pending.arrived_at,
                                  .number = pending.number,
                                  .timed_out = timed_out});
  }
}

}  // namespace trunkline
