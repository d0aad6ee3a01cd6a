// Carries weights from the controller to the proxies, each with its delay; and relaxes them while
// the controller is silent, as the production RelaxedSnapshot does.
//
// Externally synchronized.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "common/base/random.h"
#include "controller/core/snapshot_publisher.h"
#include "dataplane/table/alias_table.h"
#include "tests/sim/controller.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/proxy.h"
#include "tests/sim/scenario.h"

namespace trunkline::sim {

class WeightDelivery final : private EventHandler {
 public:
  // Within this time a proxy connects to a controller that has started.
  static constexpr SimTime kReconnect = 3 * kSecond;
  // A proxy relaxes its weights this often.
  static constexpr SimTime kRefresh = 5 * kSecond;
  static constexpr SimTime kLeastDelay = kMillisecond;
  static constexpr SimTime kMostDelay = 20 * kMillisecond;

  // All outlive the object.
  WeightDelivery(EventQueue& queue, const std::vector<std::unique_ptr<Proxy>>& proxies,
                 const Scenario& scenario, uint64_t seed);

  void OnSnapshot(const ServiceSnapshot& snapshot);
  void OnControllerLost();
  // Returns the shares that the newest weights promise the servers; all 0 before the first.
  const std::vector<double>& shares() const { return shares_; }

 private:
  using Table = std::shared_ptr<const AliasTable>;
  struct Sent {
    Table table;
    size_t left = 0;  // proxies that have not got it yet
  };

  void OnEvent(uint32_t kind, uint64_t value) override;
  void Relax();
  // By server; 0 for servers that the snapshot does not have.
  std::vector<double> WeightsOf(const SnapshotService& snapshot) const;
  void SetShares(const std::vector<double>& weights);

  EventQueue& queue_;
  const std::vector<std::unique_ptr<Proxy>>& proxies_;
  const Scenario& scenario_;
  FastRandom random_;
  std::deque<Sent> sent_;
  uint64_t first_sent_ = 0;        // number of sent_.front()
  std::vector<uint64_t> applied_;  // by proxy: number of the newest, from 1 on
  ServiceSnapshot newest_;
  SimTime lost_at_ = -1;  // -1: the controller lives
  uint64_t silence_ = 0;  // number of the silence, for its events
  SimTime connects_from_ = 0;
  std::vector<double> shares_;
};

}  // namespace trunkline::sim
