#include "examples/metering/group_committer.h"

#include <cstddef>
#include <cstdio>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "examples/metering/job.h"
#include "examples/metering/metering.pb.h"
#include "examples/metering/payload_hash.h"
#include "examples/metering/reading_store.h"

namespace trunkline::metering {

GroupCommitter::GroupCommitter(Options options, std::unique_ptr<ReadingStore> store, Sink sink)
    : options_(options), store_(std::move(store)), sink_(std::move(sink)) {
  thread_ = std::thread([this] { Work(); });
}

GroupCommitter::~GroupCommitter() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void GroupCommitter::Add(Job job) {
  absl::MutexLock lock(&mutex_);
  jobs_.push_back(std::move(job));
  changed_.NotifyAll();
}

void GroupCommitter::Work() {
  while (true) {
    const std::vector<Job> group = TakeGroup();
    if (group.empty()) return;
    Commit(group);
  }
}

// Returns an empty group when stopping and the queue is empty.
std::vector<Job> GroupCommitter::TakeGroup() {
  absl::MutexLock lock(&mutex_, absl::Condition(this, &GroupCommitter::HasWork));
  changed_.AwaitFor(mutex_, options_.max_wait,
                    absl::Condition(this, &GroupCommitter::HasFullGroup));
  if (jobs_.size() <= options_.max_group) return std::exchange(jobs_, {});
  const auto end = jobs_.begin() + static_cast<ptrdiff_t>(options_.max_group);
  std::vector<Job> group(std::make_move_iterator(jobs_.begin()), std::make_move_iterator(end));
  jobs_.erase(jobs_.begin(), end);
  return group;
}

void GroupCommitter::Commit(const std::vector<Job>& group) {
  std::vector<const Reading*> readings;
  readings.reserve(group.size());
  for (const Job& job : group) readings.push_back(&job.reading);
  absl::StatusOr<std::vector<Ack::Status>> outcomes = store_->StoreAll(readings);
  if (!outcomes.ok()) {
    fprintf(stderr,
            "meterstore: %s; %zu readings are not stored, their collectors must send them again\n",
            std::string(outcomes.status().message()).c_str(), group.size());
    outcomes = std::vector<Ack::Status>(group.size(), Ack::UNAVAILABLE);
  }

  std::vector<Committed> committed(group.size());
  for (size_t i = 0; i < group.size(); ++i) {
    const Reading& reading = group[i].reading;
    committed[i].connection = group[i].connection;
    Ack& ack = committed[i].ack;
    ack.set_meter_id(reading.meter_id());
    ack.set_sequence(reading.sequence());
    ack.set_status((*outcomes)[i]);
    ack.set_payload_hash(PayloadHash(reading.payload()));
  }
  sink_(committed);
}

}  // namespace trunkline::metering
