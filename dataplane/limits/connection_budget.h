// Limits one worker's connections to one endpoint: some servers (gateways, PLCs) accept only a few
// and stop responding beyond that. Each worker has a share of the limit (ShareOf in
// endpoint_set.h).
//
// ConnectionBudget: thread-safe, lock-free. ConnectionLease: confined to its worker; returns its
// connection to the budget when destroyed.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace trunkline {

class ConnectionBudget {
 public:
  // Returns false if `limit` connections are already taken. 0: no limit.
  bool Take(uint32_t limit) {
    uint32_t used = used_.load(std::memory_order_relaxed);
    do {
      if (limit > 0 && used >= limit) return false;
    } while (!used_.compare_exchange_weak(used, used + 1, std::memory_order_relaxed));
    return true;
  }
  void Give() { used_.fetch_sub(1, std::memory_order_relaxed); }
  uint32_t used() const { return used_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint32_t> used_ = 0;
};

class ConnectionLease {
 public:
  ConnectionLease() = default;
  // Empty if the budget is spent.
  ConnectionLease(std::shared_ptr<ConnectionBudget> budget, uint32_t limit)
      : budget_(budget != nullptr && budget->Take(limit) ? std::move(budget) : nullptr) {}
  ConnectionLease(ConnectionLease&& other) noexcept : budget_(std::move(other.budget_)) {}
  ConnectionLease& operator=(ConnectionLease&& other) noexcept {
    Reset();
    budget_ = std::move(other.budget_);
    return *this;
  }
  ~ConnectionLease() { Reset(); }

  explicit operator bool() const { return budget_ != nullptr; }
  void Reset() {
    if (budget_ != nullptr) std::exchange(budget_, nullptr)->Give();
  }

 private:
  std::shared_ptr<ConnectionBudget> budget_;
};

}  // namespace trunkline
