// The storage server's protocol: each Reading frame passes the cost pool and the committer and is
// answered with an Ack.
//
//   loop thread              cost threads            commit thread         loop thread
//   Receive -> admission ->  BurnCpu  ------------>  StoreAll, commit ---> Ack frame
//
// Admission bounds the readings between Receive and Ack. A reading that does not fit, or waited too
// long for the pool, is answered BUSY, so that its collector can try another server. Thread-safe;
// destroyed before the server that it answers through.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "examples/metering/connection_server.h"
#include "examples/metering/cost_pool.h"
#include "examples/metering/group_committer.h"

namespace trunkline::metering {

class MeterService {
 public:
  struct Options {
    // Unused if readings cost nothing.
    CostPool::Options work;
    GroupCommitter::Options commit;
    // Limit of readings between arrival and Ack; 4096 of mean size are about 4 MiB.
    size_t max_waiting = 4096;
  };

  // `server` outlives the service.
  MeterService(Options options, std::unique_ptr<ReadingStore> store, ConnectionServer& server);

  // The server's FrameHandler. INVALID_ARGUMENT means that the message is not a Reading.
  absl::Status Receive(ConnectionId connection, std::string_view message);

 private:
  void Refuse(ConnectionId connection, const Reading& reading, Ack::Status why);
  void Finish(const std::vector<GroupCommitter::Committed>& committed);
  void Drop(const Job& job);

  const Options options_;
  ConnectionServer& server_;
  std::atomic<size_t> waiting_{0};
  GroupCommitter committer_;
  std::optional<CostPool> pool_;  // last: its threads feed the committer
};

}  // namespace trunkline::metering
