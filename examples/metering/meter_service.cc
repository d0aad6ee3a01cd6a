#include "examples/metering/meter_service.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "common/base/clock.h"
#include "examples/metering/connection_server.h"
#include "examples/metering/cost_pool.h"
#include "examples/metering/frame.h"
#include "examples/metering/job.h"
#include "examples/metering/metering.pb.h"
#include "examples/metering/reading_store.h"

namespace trunkline::metering {
namespace {

// SQLite's integers are signed.
constexpr uint64_t kMaxKey = INT64_MAX;

bool IsValid(const Reading& reading) {
  return reading.meter_id() > 0 && reading.meter_id() <= kMaxKey && reading.sequence() > 0 &&
         reading.sequence() <= kMaxKey && reading.taken_at_ms() <= kMaxKey &&
         Reading::Kind_IsValid(reading.kind());
}

ConnectionServer::Reply ReplyWith(ConnectionId connection, const Ack& ack) {
  ConnectionServer::Reply reply{.connection = connection};
  AppendFrame(ack.SerializeAsString(), &reply.frame);
  return reply;
}

}  // namespace

MeterService::MeterService(Options options, std::unique_ptr<ReadingStore> store,
                           ConnectionServer& server)
    : options_(options),
      server_(server),
      committer_(options_.commit, std::move(store),
                 [this](const std::vector<GroupCommitter::Committed>& c) { Finish(c); }) {
  if (options_.work.cost.free()) return;
  pool_.emplace(options_.work,
                CostPool::Steps{
                    .still_open = [this](ConnectionId id) { return server_.StillOpen(id); },
                    .processed = [this](Job job) { committer_.Add(std::move(job)); },
                    .dropped = [this](const Job& job) { Drop(job); },
                });
}

absl::Status MeterService::Receive(ConnectionId connection, std::string_view message) {
  Job job{.connection = connection, .arrived = MonotonicNow()};
  if (!job.reading.ParseFromArray(message.data(), static_cast<int>(message.size()))) {
    return absl::InvalidArgumentError("the message is not a Reading");
  }
  if (!IsValid(job.reading)) {
    Refuse(connection, job.reading, Ack::INVALID);
  } else if (waiting_.load(std::memory_order_relaxed) >= options_.max_waiting) {
    Refuse(connection, job.reading, Ack::BUSY);
  } else {
    waiting_.fetch_add(1, std::memory_order_relaxed);
    pool_.has_value() ? pool_->Add(std::move(job)) : committer_.Add(std::move(job));
  }
  return absl::OkStatus();
}

void MeterService::Refuse(ConnectionId connection, const Reading& reading, Ack::Status why) {
  Ack ack;
  ack.set_meter_id(reading.meter_id());
  ack.set_sequence(reading.sequence());
  ack.set_status(why);
  server_.Answer({ReplyWith(connection, ack)});
}

void MeterService::Finish(const std::vector<GroupCommitter::Committed>& committed) {
  std::vector<ConnectionServer::Reply> replies;
  replies.reserve(committed.size());
  for (const GroupCommitter::Committed& one : committed) {
    replies.push_back(ReplyWith(one.connection, one.ack));
  }
  waiting_.fetch_sub(committed.size(), std::memory_order_relaxed);
  server_.Answer(std::move(replies));
}

void MeterService::Drop(const Job& job) {
  waiting_.fetch_sub(1, std::memory_order_relaxed);
  Refuse(job.connection, job.reading, Ack::BUSY);
}

}  // namespace trunkline::metering
