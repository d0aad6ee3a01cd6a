// Numbers that workers count and a scrape reads.
//
// Counter, Gauge and Histogram have one writer thread each and any number of readers: recording is a relaxed load and
// store, no lock, no read-modify-write, no allocation. Every worker has its own; a MetricsPage sums them at scrape
// time. prometheus-cpp's own counters (CAS on a double) and histograms (a lock) stay off the workers' path.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
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

// Durations in powers of two from 1 us to ~17 s; one writer, any readers. Bucket i counts values of at most
// Bound(i); the last bucket counts the rest.
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

using MetricLabels = std::vector<std::pair<std::string, std::string>>;

// One scrape being written. Collectors add families in any order; the same family may be added to from several.
// Names get the prefix "trunkline_". Confined to one thread.
class MetricsWriter {
 public:
  MetricsWriter();
  ~MetricsWriter();
  MetricsWriter(const MetricsWriter&) = delete;
  MetricsWriter& operator=(const MetricsWriter&) = delete;

  // `name` must end in "_total".
  void AddCounter(const std::string& name, const std::string& help, const MetricLabels& labels,
                  double value);
  void AddGauge(const std::string& name, const std::string& help, const MetricLabels& labels,
                double value);
  // `name` must end in "_seconds".
  void AddHistogram(const std::string& name, const std::string& help, const MetricLabels& labels,
                    const LatencyHistogram::Values& values);
  // Prometheus text format, families sorted by name.
  std::string Text() const;

 private:
  struct Families;
  std::unique_ptr<Families> families_;
};

// The collectors of one process. Thread-safe.
class MetricsPage {
 public:
  using Collector = std::function<void(MetricsWriter&)>;

  // Adds trunkline_build_info{program, version} and process metrics (CPU, memory, fds) by itself.
  explicit MetricsPage(std::string program);

  void Register(Collector collector);
  std::string Render() const;

 private:
  const std::string program_;
  mutable absl::Mutex mutex_;
  std::vector<Collector> collectors_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace trunkline
