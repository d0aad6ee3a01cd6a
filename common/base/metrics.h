// Counters, gauges and histograms that workers record and scrapes read.
//
// Each has one writer thread and any number of readers. Recording is a relaxed load and store, with
// no lock, read-modify-write or allocation. Every worker has its own set, and collectors sum them
// at scrape time (common/observe/metrics_page.h). prometheus-cpp's counters (CAS on a double) and
// histograms (a lock) are too slow for workers.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"

namespace trunkline {

// One writer, any readers.
class Counter {
 public:
  void Add(uint64_t n = 1) {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  uint64_t Value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

// One writer, any readers.
class Gauge {
 public:
  void Set(int64_t v) { value_.store(v, std::memory_order_relaxed); }
  void Add(int64_t n) { Set(value_.load(std::memory_order_relaxed) + n); }
  int64_t Value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> value_{0};
};

// The contribution of one owner to a gauge, removed when the owner is destroyed. Used on the thread
// of the gauge's writer.
class GaugeShare {
 public:
  GaugeShare() = default;
  GaugeShare(const GaugeShare&) = delete;
  GaugeShare& operator=(const GaugeShare&) = delete;
  ~GaugeShare() { Set(0); }

  // Called before the first Set. The gauge outlives the share.
  void BelongTo(Gauge* gauge) { gauge_ = gauge; }
  void Set(size_t amount) {
    const auto now = static_cast<int64_t>(amount);
    if (gauge_ == nullptr || now == amount_) return;
    gauge_->Add(now - amount_);
    amount_ = now;
  }

 private:
  Gauge* gauge_ = nullptr;
  int64_t amount_ = 0;
};

// A histogram of durations with bounds at powers of two from 1 us to about 17 s; one writer, any
// readers. Bucket i counts values of at most Bound(i); the last bucket counts larger values.
class LatencyHistogram {
 public:
  static constexpr size_t kBounds = 25;
  static absl::Duration Bound(size_t i) { return absl::Microseconds(int64_t{1} << i); }

  void Record(int64_t nanos);

  struct Values {
    std::array<uint64_t, kBounds + 1> counts{};  // not cumulative
    double sum_seconds = 0;
    Values& operator+=(const Values& other);
  };
  Values Read() const;

 private:
  std::array<std::atomic<uint64_t>, kBounds + 1> counts_{};
  std::atomic<uint64_t> sum_nanos_{0};
};

}  // namespace trunkline
