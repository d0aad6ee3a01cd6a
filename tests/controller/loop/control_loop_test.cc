// The loop with a tick interval that never ends, so that only changes cause snapshots.
#include "controller/loop/control_loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/forwarding_mode.h"
#include "controller/core/control_core.h"
#include "controller/core/endpoint_registry.h"
#include "controller/core/load_report.h"
#include "controller/core/snapshot_publisher.h"
#include "tests/controller/core/core_fixture.h"

namespace trunkline {
namespace {

using testing::ElementsAre;

constexpr absl::Duration kNever = absl::Hours(1);
constexpr absl::Duration kPatience = absl::Seconds(20);

class ControlLoopTest : public testing::Test {
 protected:
  static ControlLoop::Options OptionsFor(ForwardingMode mode) {
    ControlLoop::Options options;
    options.core.services = {Service("db")};
    options.core.services[0].mode = mode;
    options.core.first = {1000, 1};
    options.tick_interval = kNever;
    return options;
  }
  void Start(ForwardingMode mode) {
    loop_.emplace(OptionsFor(mode));
    loop_->Subscribe([this](const std::shared_ptr<const ControllerView>& view) {
      const absl::MutexLock lock(&mutex_);
      view_ = view;
    });
    ASSERT_TRUE(loop_->Start().ok());
    // The first tick is over when a task that follows it runs.
    AwaitTasks();
  }
  void AwaitTasks() {
    std::promise<void> done;
    loop_->SetDraining({"no", "such"}, true, [&](const auto&) { done.set_value(); });
    done.get_future().wait();
  }
  void Announce(const std::string& id) {
    AnnouncedAgent agent = Agent(id);
    agent.endpoints[0].server_address = absl::StrCat("server-", id, ":5432");
    const AgentSession session = loop_->NewSession();
    loop_->Announce(session, agent,
                    {.direct = [](const AgentOrders&) {}, .end = [](const absl::Status&) {}});
    loop_->Report(session, 1, {Load(id)});
  }
  // The addresses in the last snapshot that was shown.
  std::vector<std::string> Addresses() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::vector<std::string> addresses;
    for (const SnapshotEndpoint& endpoint : view_->snapshot->services[0]->endpoints) {
      addresses.push_back(endpoint.address);
    }
    return addresses;
  }
  // Waits for a snapshot with so many endpoints.
  [[nodiscard]] bool AwaitEndpoints(size_t count) {
    const absl::MutexLock lock(&mutex_);
    const auto there = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return view_ != nullptr && Addresses().size() == count;
    };
    return mutex_.AwaitWithTimeout(absl::Condition(&there), kPatience);
  }

  absl::Mutex mutex_;
  std::shared_ptr<const ControllerView> view_ ABSL_GUARDED_BY(mutex_);
  std::optional<ControlLoop> loop_;  // last: its thread uses the fields above
};

TEST_F(ControlLoopTest, AnnouncedEndpointIsPublishedBeforeTheNextTick) {
  Start(ForwardingMode::kTunnel);
  Announce("a");
  EXPECT_TRUE(AwaitEndpoints(1));
}

TEST_F(ControlLoopTest, EveryAnnouncedEndpointIsPublishedBeforeTheNextTick) {
  Start(ForwardingMode::kTunnel);
  for (const char* id : {"a", "b", "c"}) {
    Announce(id);
    AwaitTasks();
  }
  EXPECT_TRUE(AwaitEndpoints(3));
}

// Without the addresses that the agents announced before, the service would have no endpoint until
// they are back.
TEST_F(ControlLoopTest, FirstSnapshotAfterASwitchToTunnelHasTheTrunkAddresses) {
  Start(ForwardingMode::kDirect);
  Announce("a");
  Announce("b");
  ASSERT_TRUE(AwaitEndpoints(2));
  std::promise<std::vector<std::string>> addresses;
  loop_->Reload(OptionsFor(ForwardingMode::kTunnel), [&](const auto& version) {
    EXPECT_TRUE(version.ok());
    const absl::MutexLock lock(&mutex_);
    addresses.set_value(Addresses());
  });
  EXPECT_THAT(addresses.get_future().get(), ElementsAre(TrunkAddress("a"), TrunkAddress("b")));
}

TEST_F(ControlLoopTest, FirstSnapshotAfterASwitchFromTunnelHasTheServersAddresses) {
  Start(ForwardingMode::kTunnel);
  Announce("a");
  ASSERT_TRUE(AwaitEndpoints(1));
  std::promise<std::vector<std::string>> addresses;
  loop_->Reload(OptionsFor(ForwardingMode::kDirect), [&](const auto&) {
    const absl::MutexLock lock(&mutex_);
    addresses.set_value(Addresses());
  });
  EXPECT_THAT(addresses.get_future().get(), ElementsAre("server-a:5432"));
}

}  // namespace
}  // namespace trunkline
