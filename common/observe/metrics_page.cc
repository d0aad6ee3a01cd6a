#include "common/observe/metrics_page.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/check.h"
#include "common/base/metrics.h"
#include "common/base/version.h"
#include "common/observe/log.h"
#include "common/observe/process_metrics.h"

namespace trunkline {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

struct MetricsWriter::Families {
  // Sorted, so that all scrapes list families in the same order.
  std::map<std::string, MetricFamily> by_name;

  ClientMetric& Add(const std::string& name, const std::string& help, MetricType type,
                    const MetricLabels& labels) {
    MetricFamily& family = by_name[name];
    if (family.name.empty()) {
      family.name = absl::StrCat("trunkline_", name);
      family.help = help;
      family.type = type;
    }
    TRUNKLINE_CHECK(family.type == type, "all series of a family have its type");
    ClientMetric& metric = family.metric.emplace_back();
    for (const auto& [key, value] : labels) metric.label.push_back({key, value});
    return metric;
  }
};

MetricsWriter::MetricsWriter() : families_(std::make_unique<Families>()) {}
MetricsWriter::~MetricsWriter() = default;

void MetricsWriter::AddCounter(const std::string& name, const std::string& help,
                               const MetricLabels& labels, double value) {
  TRUNKLINE_CHECK(absl::EndsWith(name, "_total"), "a counter's name ends with _total");
  families_->Add(name, help, MetricType::Counter, labels).counter.value = value;
}

void MetricsWriter::AddGauge(const std::string& name, const std::string& help,
                             const MetricLabels& labels, double value) {
  families_->Add(name, help, MetricType::Gauge, labels).gauge.value = value;
}

void MetricsWriter::AddHistogram(const std::string& name, const std::string& help,
                                 const MetricLabels& labels,
                                 const LatencyHistogram::Values& values) {
  TRUNKLINE_CHECK(absl::EndsWith(name, "_seconds"), "a histogram is of seconds");
  ClientMetric::Histogram& histogram =
      families_->Add(name, help, MetricType::Histogram, labels).histogram;
  uint64_t cumulative = 0;
  for (size_t i = 0; i < LatencyHistogram::kBounds; ++i) {
    cumulative += values.counts[i];
    const double bound_seconds = absl::ToDoubleSeconds(LatencyHistogram::Bound(i));
    histogram.bucket.push_back({cumulative, bound_seconds});
  }
  // The serializer writes the +Inf bucket from the count.
  histogram.sample_count = cumulative + values.counts[LatencyHistogram::kBounds];
  histogram.sample_sum = values.sum_seconds;
}

std::string MetricsWriter::Text() const {
  std::vector<MetricFamily> families;
  families.reserve(families_->by_name.size());
  for (const auto& [name, family] : families_->by_name) families.push_back(family);
  return prometheus::TextSerializer().Serialize(families);
}

MetricsPage::MetricsPage(std::string program) : program_(std::move(program)) {}

void MetricsPage::Register(Collector collector) {
  absl::MutexLock lock(&mutex_);
  collectors_.push_back(std::move(collector));
}

std::string MetricsPage::Render() const {
  MetricsWriter writer;
  writer.AddGauge("build_info", "The program and its version; always 1",
                  {{"program", program_}, {"version", kVersion}}, 1);
  AddProcessMetrics(writer);
  writer.AddCounter("log_lines_dropped_total",
                    "Log lines dropped because standard error did not accept them", {},
                    static_cast<double>(DroppedLogLines()));
  absl::MutexLock lock(&mutex_);
  for (const Collector& collector : collectors_) collector(writer);
  return writer.Text();
}

}  // namespace trunkline
