// Numbers that workers count and a scrape reads.
//
// Counter, Gauge and LatencyHistogram have one writer thread each and any number of readers:
// recording is a relaxed load and store, no lock, no read-modify-write, no allocation. Every worker
// has its own; a MetricsPage (metrics_page.h) sums them at scrape time. prometheus-cpp's own
// counters (CAS on a double) and histograms (a lock) stay off the workers' path.
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

// What one of many owners adds to a gauge; taken off again with its owner. For the gauge's writer.
class GaugeShare {
 public:
  GaugeShare() = default;
  GaugeShare(const GaugeShare&) = delete;
  GaugeShare& operator=(const GaugeShare&) = delete;
  ~GaugeShare() { Set(0); }

  // Before the first Set. The gauge outlives the share.
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

// Durations in powers of two from 1 us to ~17 s; one writer, any readers. Bucket i counts values of
// at most Bound(i); the last bucket counts the rest.
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
