#include "examples/metering/cost_pool.h"

#include <thread>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "common/base/clock.h"
#include "examples/metering/cost_model.h"
#include "examples/metering/job.h"

namespace trunkline::metering {

CostPool::CostPool(Options options, Steps steps) : options_(options), steps_(std::move(steps)) {
  threads_.reserve(options_.threads);
  for (int i = 0; i < options_.threads; ++i) threads_.emplace_back([this] { Work(); });
}

CostPool::~CostPool() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

void CostPool::Add(Job job) {
  absl::MutexLock lock(&mutex_);
  jobs_.push_back(std::move(job));
}

void CostPool::Work() {
  while (true) {
    Job job;
    {
      absl::MutexLock lock(&mutex_, absl::Condition(this, &CostPool::HasWork));
      if (stopping_) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    if (!IsAwaited(job)) {
      steps_.dropped(job);
      continue;
    }
    BurnCpu(CostOf(options_.cost, job.reading));
    steps_.processed(std::move(job));
  }
}

bool CostPool::IsAwaited(const Job& job) const {
  return steps_.still_open(job.connection) && MonotonicNow() - job.arrived <= options_.max_wait;
}

}  // namespace trunkline::metering
