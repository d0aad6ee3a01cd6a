// The /metrics page of a process. At scrape time, collectors sum the counters of the workers
// (common/base/metrics.h) into metric families, which prometheus-cpp writes as text.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/metrics.h"

namespace trunkline {

using MetricLabels = std::vector<std::pair<std::string, std::string>>;

// Writes one scrape. Collectors add families in any order, and several may add to one family. Names
// get the prefix "trunkline_". Confined to one thread.
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
  // Returns the Prometheus text format, with families sorted by name.
  std::string Text() const;

 private:
  struct Families;
  std::unique_ptr<Families> families_;
};

// The collectors of one process. Thread-safe.
class MetricsPage {
 public:
  using Collector = std::function<void(MetricsWriter&)>;

  // The page always contains trunkline_build_info{program, version} and the metrics of the process.
  explicit MetricsPage(std::string program);

  void Register(Collector collector);
  std::string Render() const;

 private:
  const std::string program_;
  mutable absl::Mutex mutex_;
  std::vector<Collector> collectors_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace trunkline
