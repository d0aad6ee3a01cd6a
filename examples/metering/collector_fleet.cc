#include "examples/metering/collector_fleet.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/backoff.h"
#include "common/base/clock.h"
#include "common/net/socket.h"
#include "examples/metering/acked_log.h"
#include "examples/metering/delivery_report.h"
#include "examples/metering/frame.h"
#include "examples/metering/metering.pb.h"
#include "examples/metering/payload_hash.h"
#include "examples/metering/random_bits.h"
#include "examples/metering/workload.h"

namespace trunkline::metering {
namespace {

constexpr int kEventsPerPass = 512;
// An Ack has fewer than 40 bytes; a longer answer is wrong.
constexpr size_t kMaxAnswerBytes = 1024;
constexpr absl::Duration kProgressEvery = absl::Seconds(1);
// The load starts once all held connections are open, or after this long if a target is broken.
constexpr absl::Duration kHeldTimeout = absl::Seconds(30);
// Epoll data of the eventfd. Its highest bit is HeldConnections::kKey, whose indices are shorter.
constexpr uint64_t kWakeKey = UINT64_MAX;
// The first retries come soon, for a restarted server, and later ones seldom, for an overloaded
// one.
constexpr Backoff::Options kRetryBackoff{.initial = absl::Milliseconds(50),
                                         .max = absl::Seconds(5)};

uint64_t KeyOf(uint32_t slot, uint32_t attempt) {
  return uint64_t{attempt & 0x7fffffff} << 32 | slot;
}

}  // namespace

CollectorFleet::CollectorFleet(Options options, AckedLog& log,
                               std::function<void(const std::string&)> on_progress)
    : options_(std::move(options)),
      log_(log),
      on_progress_(std::move(on_progress)),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      wake_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
      workload_(options_.workload),
      random_(Mix(options_.workload.seed ^ 0xf1ee7)),
      report_({.seed = options_.workload.seed,
               .collectors = options_.workload.collectors,
               .rate = options_.workload.rate,
               .burst = options_.workload.burst,
               .slo = options_.slo}),
      held_(epoll_.get(), options_.targets, options_.held, options_.workload.seed) {
  epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.u64 = kWakeKey}};
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event);
}

void CollectorFleet::StopSending() {
  stop_sending_.store(true, std::memory_order_relaxed);
  const uint64_t one = 1;
  (void)!write(wake_.get(), &one, sizeof one);
}

absl::StatusOr<bool> CollectorFleet::Run() {
  OpenHeld();
  started_ = absl::Now();
  report_.Started(started_);
  now_ = start_ = MonotonicNow();
  end_ = start_ + options_.duration;
  next_tick_ = start_ + kProgressEvery;
  upcoming_ = workload_.Next();
  while (!Finished()) {
    OnePass();
    if (absl::Status status = log_.Flush(); !status.ok()) return status;
  }
  report_.SetHeld({held_.wanted(), held_.open(), held_.reopened()});
  return report_.all_acknowledged() && report_.wrong_answers() == 0;
}

bool CollectorFleet::Finished() {
  if (stop_sending_.load(std::memory_order_relaxed)) end_ = std::min(end_, now_);
  if (start_ + upcoming_.at < end_) return false;
  return report_.in_flight() == 0 || now_ >= end_ + options_.grace;
}

void CollectorFleet::OpenHeld() {
  now_ = MonotonicNow();
  const MonotonicTime deadline = now_ + kHeldTimeout;
  while (!held_.all_open() && now_ < deadline && !stop_sending_) {
    held_.Open(now_);
    HandleEvents(std::min(deadline, held_.next_open()));
  }
}

void CollectorFleet::OnePass() {
  HandleEvents(NextAlarm());
  StartWaiting();
  StartDue();
  RetryDue();
  ExpireAttempts();
  Tick();
}

MonotonicTime CollectorFleet::NextAlarm() const {
  const MonotonicTime due = start_ + upcoming_.at;
  MonotonicTime next = due < end_ ? due : end_ + options_.grace;
  if (!retries_.empty()) next = std::min(next, retries_.top().at);
  if (!timeouts_.empty()) next = std::min(next, timeouts_.front().at);
  return std::min({next, next_tick_, held_.next_open()});
}

void CollectorFleet::HandleEvents(MonotonicTime until) {
  epoll_event events[kEventsPerPass];
  const absl::Duration wait = std::max(until - MonotonicNow(), absl::ZeroDuration());
  const timespec timeout = absl::ToTimespec(wait);
  const int ready = epoll_pwait2(epoll_.get(), events, kEventsPerPass, &timeout, nullptr);
  now_ = MonotonicNow();
  for (int i = 0; i < ready; ++i) {
    const uint64_t key = events[i].data.u64;
    if (key == kWakeKey) continue;  // Finished() reads stop_sending_
    if (key & HeldConnections::kKey) {
      held_.Serve(key, events[i].events, now_);
      continue;
    }
    const auto slot = static_cast<uint32_t>(key & 0xffffffff);
    if (key == KeyOf(slot, slots_[slot].attempt) && slots_[slot].fd) Serve(slot, events[i].events);
  }
}

void CollectorFleet::StartDue() {
  while (start_ + upcoming_.at < end_ && start_ + upcoming_.at <= now_) {
    const uint32_t slot = TakeSlot();
    Delivery& delivery = slots_[slot];
    delivery.plan = upcoming_;
    delivery.target = deliveries_++ % options_.targets.size();
    delivery.backoff = Backoff(kRetryBackoff);
    report_.Sent(upcoming_.at);
    upcoming_ = workload_.Next();
    if (attempts_ < options_.max_attempts && waiting_.empty()) {
      Attempt(slot);
    } else {
      waiting_.push_back(slot);
    }
  }
}

void CollectorFleet::StartWaiting() {
  while (!waiting_.empty() && attempts_ < options_.max_attempts) {
    const uint32_t slot = waiting_.front();
    waiting_.pop_front();
    Attempt(slot);
  }
}

void CollectorFleet::RetryDue() {
  while (!retries_.empty() && retries_.top().at <= now_) {
    waiting_.push_back(retries_.top().slot);
    retries_.pop();
  }
  StartWaiting();
}

void CollectorFleet::ExpireAttempts() {
  while (!timeouts_.empty()) {
    const Alarm alarm = timeouts_.front();
    const Delivery& delivery = slots_[alarm.slot];
    const bool in_flight = delivery.attempt == alarm.attempt && delivery.fd;
    if (in_flight && alarm.at > now_) return;
    timeouts_.pop_front();
    if (in_flight) Fail(alarm.slot, AttemptFailure::kTimeout);
  }
}

void CollectorFleet::Tick() {
  held_.Open(now_);
  if (now_ < next_tick_) return;
  report_.SetHeld({held_.wanted(), held_.open(), held_.reopened()});
  on_progress_(report_.ProgressLine(now_ - start_));
  while (next_tick_ <= now_) next_tick_ = next_tick_ + kProgressEvery;
}

uint32_t CollectorFleet::TakeSlot() {
  if (free_slots_.empty()) {
    slots_.push_back({.backoff = Backoff(kRetryBackoff)});
    return static_cast<uint32_t>(slots_.size() - 1);
  }
  const uint32_t slot = free_slots_.back();
  free_slots_.pop_back();
  return slot;
}

void CollectorFleet::Attempt(uint32_t slot) {
  Delivery& delivery = slots_[slot];
  ++attempts_;
  ++delivery.attempt;
  const Reading reading = MakeReading(delivery.plan, options_.workload.seed, started_);
  delivery.payload_hash = PayloadHash(reading.payload());
  delivery.out.clear();
  delivery.in.clear();
  AppendFrame(reading.SerializeAsString(), &delivery.out);

  ConnectResult connection = ConnectTo(options_.targets[delivery.target]);
  if (!connection.fd) return Fail(slot, AttemptFailure::kConnect);
  delivery.fd = std::move(connection.fd);
  report_.Connected();
  timeouts_.push_back({now_ + options_.timeout, slot, delivery.attempt});
  epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                    .data = {.u64 = KeyOf(slot, delivery.attempt)}};
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, delivery.fd.get(), &event);
  Send(delivery);  // over loopback the connection is often established already
}

void CollectorFleet::Serve(uint32_t slot, uint32_t events) {
  Delivery& delivery = slots_[slot];
  // An answer sent before the peer closed still counts.
  if (events & EPOLLIN) {
    const uint32_t attempt = delivery.attempt;
    ReadAnswer(slot);
    if (delivery.attempt != attempt || !delivery.fd) return;
  }
  if (events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP)) {
    const bool never_connected = SocketError(delivery.fd.get()) == ECONNREFUSED;
    return Fail(slot, never_connected ? AttemptFailure::kConnect : AttemptFailure::kClosed);
  }
  if (events & EPOLLOUT) Send(delivery);
}

// An error is handled by the event that follows it.
void CollectorFleet::Send(Delivery& delivery) {
  while (!delivery.out.empty()) {
    const ssize_t n =
        send(delivery.fd.get(), delivery.out.data(), delivery.out.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return;
    delivery.out.erase(0, static_cast<size_t>(n));
  }
}

void CollectorFleet::ReadAnswer(uint32_t slot) {
  Delivery& delivery = slots_[slot];
  char buffer[kMaxAnswerBytes];
  const ssize_t got = recv(delivery.fd.get(), buffer, sizeof buffer, 0);
  if (got <= 0) {
    const bool later = got < 0 && (errno == EAGAIN || errno == EINTR);
    return later ? void() : Fail(slot, AttemptFailure::kClosed);
  }
  delivery.in.append(buffer, static_cast<size_t>(got));
  std::string_view bytes = delivery.in;
  absl::StatusOr<std::optional<std::string_view>> message = TakeFrame(&bytes);
  if (!message.ok() || delivery.in.size() > kMaxAnswerBytes) {
    return Fail(slot, AttemptFailure::kWrongAnswer);
  }
  if (message->has_value()) TakeAnswer(slot, **message);
}

void CollectorFleet::TakeAnswer(uint32_t slot, std::string_view message) {
  Delivery& delivery = slots_[slot];
  const PlannedReading& plan = delivery.plan;
  Ack ack;
  const bool ours = ack.ParseFromArray(message.data(), static_cast<int>(message.size())) &&
                    ack.meter_id() == plan.meter_id && ack.sequence() == plan.sequence;
  if (!ours) return Fail(slot, AttemptFailure::kWrongAnswer);
  if (ack.status() == Ack::BUSY || ack.status() == Ack::UNAVAILABLE) {
    return Fail(slot, AttemptFailure::kBusy);
  }
  if (ack.status() != Ack::STORED) {
    report_.Refused();
  } else if (ack.payload_hash() != delivery.payload_hash) {
    return Fail(slot, AttemptFailure::kWrongAnswer);
  } else {
    report_.Acknowledged(plan.at, now_ - (start_ + plan.at));
    log_.Add({plan.meter_id, plan.sequence, delivery.payload_hash});
  }
  EndAttempt(delivery);
  free_slots_.push_back(slot);
}

void CollectorFleet::Fail(uint32_t slot, AttemptFailure why) {
  Delivery& delivery = slots_[slot];
  EndAttempt(delivery);
  report_.Failed(why);
  report_.Resent();
  delivery.target = (delivery.target + 1) % options_.targets.size();
  const MonotonicTime again = now_ + delivery.backoff.Next(random_.Uniform());
  retries_.push({again, slot, delivery.attempt});
}

void CollectorFleet::EndAttempt(Delivery& delivery) {
  delivery.fd.Reset();
  --attempts_;
}

}  // namespace trunkline::metering
