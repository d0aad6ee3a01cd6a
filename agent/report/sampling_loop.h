// The agent's clockwork: samples many times a second, and says when a report is due.
//
// One thread of its own, so that neither a slow controller nor a busy trunk worker makes samples
// late. Thread-safe.
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

namespace trunkline {

class SamplingLoop {
 public:
  // Of fast samples; the second one where a sample takes long, as that of hundreds of processes.
  static constexpr absl::Duration kFastPeriod = absl::Milliseconds(30);
  static constexpr absl::Duration kLongestFastPeriod = absl::Milliseconds(100);
  static constexpr absl::Duration kSlowPeriod = absl::Seconds(1);
  // A fast sample takes this part of the time, unless kLongestFastPeriod is too short for it.
  static constexpr int kTimeBetweenOverCost = 100;
  // What crossings are looked for in, and reported from: long enough that the 10 ms ticks of /proc
  // are a few per cent.
  static constexpr absl::Duration kCrossingWindow = absl::Milliseconds(500);
  // Reports further apart than this still tell of the last seconds only.
  static constexpr absl::Duration kMaxWindow = RateWindow::kLongest;

  using Offer = std::function<void(std::vector<LoadSample>)>;
  using Watch = std::function<void(const std::vector<LoadSample>&)>;

  // `sampler` outlives the loop and, once started, is touched by its thread only.
  SamplingLoop(LoadSampler& sampler, absl::Duration interval);
  ~SamplingLoop() { Stop(); }

  // Until Stop, `offer` gets each due report and `watch` what each fast sample says, over
  // kCrossingWindow. They must not block. Called once.
  void Start(Offer offer, Watch watch);
  void Stop();

  // How far reports are apart, from now on.
  void SetInterval(absl::Duration interval);
  absl::Duration interval() const;
  // How far the next fast sample is from one that took `cost`.
  static absl::Duration FastPeriodAt(absl::Duration cost);
  // Of the last second; empty before the first.
  std::vector<LoadSample> Latest() const;

 private:
  void Run(const Offer& offer, const Watch& watch);
  // What is due now; empty when nothing is.
  std::vector<LoadSample> Due(MonotonicTime now, double uniform, const Watch& watch);

  LoadSampler& sampler_;

  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  ReportSchedule schedule_ ABSL_GUARDED_BY(mutex_);
  std::vector<LoadSample> latest_ ABSL_GUARDED_BY(mutex_);

  std::thread thread_;
};

}  // namespace trunkline
