// Samples many times per second and hands out the reports that are due.
//
// Owns a thread, so that neither a slow controller nor a busy trunk worker delays samples.
// Thread-safe.
#pragma once

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "agent/report/report_schedule.h"
#include "agent/sample/load_sample.h"
#include "agent/sample/load_sampler.h"
#include "agent/sample/rate_window.h"
#include "common/base/clock.h"
#include "common/base/timed_condition.h"

namespace trunkline {

class SamplingLoop {
 public:
  // Periods of fast samples; the longer one applies if a sample is expensive, such as that of
  // hundreds of processes.
  static constexpr absl::Duration kFastPeriod = absl::Milliseconds(30);
  static constexpr absl::Duration kLongestFastPeriod = absl::Milliseconds(100);
  static constexpr absl::Duration kSlowPeriod = absl::Seconds(1);
  // Fast samples take one part in this many of the time, unless kLongestFastPeriod is too short.
  static constexpr int kTimeBetweenOverCost = 100;
  // Crossings are detected and reported over this window, of which a 10 ms tick of /proc is 2%.
  static constexpr absl::Duration kCrossingWindow = absl::Milliseconds(500);
  // Regular reports cover at most this window, even if they are further apart.
  static constexpr absl::Duration kMaxWindow = RateWindow::kLongest;
  static_assert(kFastPeriod < kLongestFastPeriod && kLongestFastPeriod < kCrossingWindow &&
                kCrossingWindow < kMaxWindow);

  using Offer = std::function<void(std::vector<LoadSample>)>;
  using Watch = std::function<void(const std::vector<LoadSample>&)>;

  // `sampler` outlives the loop and, once started, is touched by its thread only.
  SamplingLoop(LoadSampler& sampler, absl::Duration interval);
  ~SamplingLoop() { Stop(); }

  // Until Stop, `offer` receives the samples of each due report, and `watch` those of every fast
  // sample, over kCrossingWindow. Neither may block. Called once.
  void Start(Offer offer, Watch watch);
  void Stop();

  // Sets the time between reports.
  void SetInterval(absl::Duration interval);
  absl::Duration interval() const;
  // Returns the period of fast samples that take `cost` each.
  static absl::Duration FastPeriodAt(absl::Duration cost);
  // Returns the latest samples over the report interval; empty before the first.
  std::vector<LoadSample> Latest() const;

 private:
  void Run(const Offer& offer, const Watch& watch);
  // Returns the samples of the report that is due; empty if none is due.
  std::vector<LoadSample> Due(MonotonicTime now, double uniform, const Watch& watch);

  LoadSampler& sampler_;

  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  TimedCondition stopped_;
  ReportSchedule schedule_ ABSL_GUARDED_BY(mutex_);
  std::vector<LoadSample> latest_ ABSL_GUARDED_BY(mutex_);

  std::thread thread_;
};

}  // namespace trunkline
