#include "agent/report/sampling_loop.h"

#include <algorithm>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "agent/sample/load_sample.h"
#include "agent/sample/load_sampler.h"
#include "common/base/clock.h"
#include "common/base/random.h"
#include "common/observe/log.h"

namespace trunkline {
namespace {

std::vector<double> Utilizations(const std::vector<LoadSample>& samples) {
  std::vector<double> utilizations;
  for (const LoadSample& sample : samples) utilizations.push_back(sample.Utilization());
  return utilizations;
}

}  // namespace

SamplingLoop::SamplingLoop(LoadSampler& sampler, absl::Duration interval)
    : sampler_(sampler), schedule_(interval) {}

void SamplingLoop::Start(Offer offer, Watch watch) {
  thread_ = std::thread(
      [this, offer = std::move(offer), watch = std::move(watch)] { Run(offer, watch); });
}

void SamplingLoop::Stop() {
  if (!thread_.joinable()) return;
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    stopped_.NotifyAll();
  }
  thread_.join();
}

void SamplingLoop::SetInterval(absl::Duration interval) {
  absl::MutexLock lock(&mutex_);
  if (schedule_.interval() == interval) return;
  LogInfo("the controller set the report interval to {}", absl::FormatDuration(interval));
  schedule_.SetInterval(MonotonicNow(), interval);
}

absl::Duration SamplingLoop::interval() const {
  absl::MutexLock lock(&mutex_);
  return schedule_.interval();
}

std::vector<LoadSample> SamplingLoop::Latest() const {
  absl::MutexLock lock(&mutex_);
  return latest_;
}

std::vector<LoadSample> SamplingLoop::Due(MonotonicTime now, double uniform, const Watch& watch) {
  std::vector<LoadSample> fast = sampler_.Read(kCrossingWindow);
  watch(fast);
  absl::MutexLock lock(&mutex_);
  latest_ = sampler_.Read(std::clamp(schedule_.interval(), kCrossingWindow, kMaxWindow));
  switch (schedule_.Check(now, Utilizations(fast), uniform)) {
    case ReportSchedule::Due::kInterval:
      return latest_;
    case ReportSchedule::Due::kCrossing:
      return fast;
    case ReportSchedule::Due::kNo:
      return {};
  }
  return {};
}

absl::Duration SamplingLoop::FastPeriodAt(absl::Duration cost) {
  return std::clamp(cost * kTimeBetweenOverCost, kFastPeriod, kLongestFastPeriod);
}

void SamplingLoop::Run(const Offer& offer, const Watch& watch) {
  FastRandom random(std::random_device{}());
  MonotonicTime next = MonotonicNow();
  MonotonicTime next_slow = next;
  for (bool first = true;; first = false) {
    MonotonicTime now = MonotonicNow();
    if (now >= next_slow) {
      for (const std::string& line : sampler_.SampleSlow(now)) LogInfo("{}", line);
      next_slow = std::max(next_slow + kSlowPeriod, now);
      now = MonotonicNow();
    }
    sampler_.SampleFast(now);
    const absl::Duration cost = MonotonicNow() - now;
    // A rate needs two samples; a first report of zeros would look like an idle server.
    if (!first) {
      std::vector<LoadSample> due = Due(now, random.Uniform(), watch);
      if (!due.empty()) offer(std::move(due));
    }
    // Late samples are not repeated: cumulative counters contain what they missed.
    next = std::max(next + FastPeriodAt(cost), now);
    absl::MutexLock lock(&mutex_);
    if (stopped_.AwaitFor(mutex_, next - MonotonicNow(), absl::Condition(&stopping_))) return;
  }
}

}  // namespace trunkline
