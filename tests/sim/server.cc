#include "tests/sim/server.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "tests/sim/event_queue.h"
#include "tests/sim/request.h"
#include "tests/sim/scenario.h"

namespace trunkline::sim {
namespace {

enum Kind : uint32_t { kWake, kWaited, kEndNow };

// Less than this is left after a request ran to its end, because times are rounded to nanoseconds.
constexpr double kRounding = 2e-9;

}  // namespace

Server::Server(EventQueue& queue, RequestPool& requests, Owner& owner, size_t index,
               const ServerSpec& spec)
    : queue_(queue),
      requests_(requests),
      owner_(owner),
      index_(index),
      spec_(spec),
      speed_(spec.speed),
      memory_(spec.memory),
      budget_(spec.quota * Seconds(kQuotaPeriod)) {}

double Server::capacity() const {
  return healthy() ? spec_.usable_cores() * speed_ * (1 - stolen_) : 0;
}

double Server::rate() const {
  if (frozen_) return 0;
  // Under a quota, other programs of the group use up the budget instead of the core.
  if (!has_quota()) return 1 - stolen_;
  return budget_ > kRounding ? 1 : 0;
}

double Server::SlowdownWhenCold() const {
  if (starts_ == 1) return 1;
  const double warm = Seconds(queue_.now() - started_at_) / Seconds(kWarmUp);
  return cold_factor_ + (1 - cold_factor_) * std::min(1.0, warm);
}

bool Server::Accept(RequestId id) {
  if (!accepts()) return false;
  Request& request = requests_[id];
  request.at_server = true;
  ++in_flight_;
  if (failure_ != Failure::kNone) {
    queue_.Add(queue_.now(), *this, kEndNow, requests_.Ticket(id));
    return true;
  }
  request.cpu_left = request.cpu / speed_ * SlowdownWhenCold();
  queue_of_cpu_.push_back(id);
  Settle();
  Continue();
  return true;
}

void Server::Settle() {
  const SimTime now = queue_.now();
  const double seconds = Seconds(now - settled_at_);
  if (seconds > 0) {
    const double each = seconds * rate();
    for (const RequestId id : running_) requests_[id].cpu_left -= each;
    const double used = each * static_cast<double>(running_.size());
    cpu_used_ += used;
    stolen_used_ += seconds * stolen_ * spec_.usable_cores();
    budget_ -= used;
  }
  settled_at_ = now;
  if (has_quota() && now - period_began_ >= kQuotaPeriod) {
    period_began_ += (now - period_began_) / kQuotaPeriod * kQuotaPeriod;
    budget_ = spec_.quota * Seconds(kQuotaPeriod) * (1 - stolen_);
  }
}

void Server::Continue() {
  for (size_t i = 0; i < running_.size();) {
    const RequestId id = running_[i];
    if (requests_[id].cpu_left > kRounding) {
      ++i;
      continue;
    }
    running_.erase(running_.begin() + static_cast<ptrdiff_t>(i));
    FinishCpu(id);
  }
  if (!frozen_) {
    while (running_.size() < static_cast<size_t>(spec_.cores) && !queue_of_cpu_.empty()) {
      const RequestId id = queue_of_cpu_.front();
      queue_of_cpu_.pop_front();
      if (!DropIfAbandoned(id)) running_.push_back(id);
    }
  }
  if (running_.empty() || frozen_) {
    wakes_at_ = 0;
    return;
  }
  double shortest = requests_[running_.front()].cpu_left;
  for (const RequestId id : running_) shortest = std::min(shortest, requests_[id].cpu_left);
  const SimTime now = queue_.now();
  SimTime next = now;
  if (rate() <= 0) {
    next = period_began_ + kQuotaPeriod;
  } else {
    double seconds = shortest / rate();
    if (has_quota()) {
      seconds = std::min(seconds, budget_ / static_cast<double>(running_.size()));
    }
    next = now + static_cast<SimTime>(std::ceil(seconds * 1e9));
    if (has_quota()) next = std::min(next, period_began_ + kQuotaPeriod);
  }
  if (next == wakes_at_) return;
  wakes_at_ = next;
  queue_.Add(next, *this, kWake, ++wake_);
}

void Server::FinishCpu(RequestId id) {
  if (requests_[id].wait <= 0) return Leave(id);
  queue_of_waits_.push_back(id);
  StartWaits();
}

void Server::StartWaits() {
  if (frozen_) return;
  while (
      !queue_of_waits_.empty() &&
      (spec_.parallel_waits == 0 || waiting_.size() < static_cast<size_t>(spec_.parallel_waits))) {
    const RequestId id = queue_of_waits_.front();
    queue_of_waits_.pop_front();
    if (DropIfAbandoned(id)) continue;
    waiting_.push_back(id);
    queue_.Add(queue_.now() + FromSeconds(requests_[id].wait), *this, kWaited,
               requests_.Ticket(id));
  }
}

bool Server::DropIfAbandoned(RequestId id) {
  if (!requests_[id].abandoned) return false;
  --in_flight_;
  owner_.OnDropped(index_, id);
  return true;
}

void Server::Leave(RequestId id) {
  if (DropIfAbandoned(id)) return;
  --in_flight_;
  ++served_;
  owner_.OnServed(index_, id);
}

void Server::OnEvent(uint32_t kind, uint64_t value) {
  if (kind == kWake) {
    if (value != wake_ || !alive_) return;
    wakes_at_ = 0;
    Settle();
    return Continue();
  }
  // The server may have died since.
  if (!requests_.Valid(value)) return;
  const auto id = static_cast<RequestId>(value);
  if (!requests_[id].at_server || requests_[id].server != index_) return;
  if (kind == kEndNow) {
    if (in_flight_ > 0) --in_flight_;
    if (requests_[id].abandoned) return owner_.OnDropped(index_, id);
    if (failure_ == Failure::kHangUp) return owner_.OnHungUp(index_, id);
    ++resets_;
    return owner_.OnReset(index_, id);
  }
  if (frozen_) {
    // Its process sees the end of the wait after it has thawed.
    queue_.Add(queue_.now() + 10 * kMillisecond, *this, kWaited, value);
    return;
  }
  std::erase(waiting_, id);
  Leave(id);
  StartWaits();
}

double Server::CpuSeconds() {
  Settle();
  return cpu_used_ + stolen_used_;
}

void Server::SetSpeed(double speed) {
  Settle();
  // The new speed applies to running and waiting requests, too.
  for (const RequestId id : running_) requests_[id].cpu_left *= speed_ / speed;
  for (const RequestId id : queue_of_cpu_) requests_[id].cpu_left *= speed_ / speed;
  speed_ = speed;
  wakes_at_ = 0;
  Continue();
}

void Server::SetStolen(double share) {
  Settle();
  stolen_ = share;
  wakes_at_ = 0;
  Continue();
}

void Server::SetFrozen(bool frozen) {
  Settle();
  frozen_ = frozen;
  wakes_at_ = 0;
  ++wake_;
  Continue();
  StartWaits();
}

void Server::Die() {
  Settle();
  alive_ = false;
  frozen_ = false;
  DropConnections();
}

void Server::DropConnections() {
  Settle();
  ++wake_;
  wakes_at_ = 0;
  std::vector<RequestId> lost = std::exchange(running_, {});
  lost.insert(lost.end(), queue_of_cpu_.begin(), queue_of_cpu_.end());
  lost.insert(lost.end(), queue_of_waits_.begin(), queue_of_waits_.end());
  lost.insert(lost.end(), waiting_.begin(), waiting_.end());
  queue_of_cpu_.clear();
  queue_of_waits_.clear();
  waiting_.clear();
  in_flight_ = 0;
  for (const RequestId id : lost) {
    if (requests_[id].abandoned) {
      owner_.OnDropped(index_, id);
    } else {
      ++resets_;
      owner_.OnReset(index_, id);
    }
  }
}

void Server::Start() {
  if (alive_) Die();
  Settle();
  alive_ = true;
  failure_ = Failure::kNone;
  started_at_ = queue_.now();
  ++starts_;
}

}  // namespace trunkline::sim
