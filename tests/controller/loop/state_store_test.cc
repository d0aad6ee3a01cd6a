#include "controller/loop/state_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <optional>
#include <random>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/atomic_file.h"
#include "controller/core/stored_state.h"
#include "tests/common/base/scratch_folder.h"

namespace trunkline {
namespace {

using testing::HasSubstr;

class StateStoreTest : public testing::Test {
 protected:
  static StoredState Full() {
    StoredState state;
    state.cluster_id = "production";
    state.epoch = 1795407794;
    state.version = 12;
    state.orderly = true;
    state.endpoints.push_back({.key = {"db", "a"},
                               .address = "10.0.0.1:7073",
                               .address_configured = true,
                               .configured = StoredConfiguration{"10.0.0.9:7073", 4},
                               .trunk_address = "10.0.0.1:7073",
                               .server_address = "10.0.0.1:5432",
                               .agent_id = "agent-1",
                               .agent_boot_id = "b1",
                               .server_boot_id = "s1",
                               .cores = 4,
                               .operator_capacity = 2,
                               .capacity = 1.2345678901234567,
                               .theta = -0.3,
                               .learned = true,
                               .slow_start_seconds = 12.5,
                               .weight = 1.23});
    state.admin.push_back({{"db", "a"}, true, std::nullopt});
    state.admin.push_back({{"db", "b"}, false, 3.5});
    state.departed.push_back({{"db", "c"}, 0.7});
    return state;
  }
  void Write(const std::string& text) { folder_.Write("state", text); }
  absl::Status LoadError() { return StateStore(path_).Load().status(); }

  const test::ScratchFolder folder_;
  const std::string path_ = folder_.File("state");
};

TEST_F(StateStoreTest, NoFileIsAFirstStart) {
  absl::StatusOr<std::optional<StoredState>> loaded = StateStore(path_).Load();
  ASSERT_TRUE(loaded.ok());
  EXPECT_FALSE(loaded->has_value());
}

TEST_F(StateStoreTest, StateSurvivesARoundTrip) {
  const StateStore store(path_);
  const StoredState before = Full();
  ASSERT_TRUE(store.Save(before).ok());
  absl::StatusOr<std::optional<StoredState>> loaded = store.Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const StoredState& after = **loaded;
  EXPECT_EQ(after.cluster_id, "production");
  EXPECT_EQ(after.epoch, before.epoch);
  EXPECT_EQ(after.version, before.version);
  EXPECT_TRUE(after.orderly);
  ASSERT_EQ(after.endpoints.size(), 1u);
  EXPECT_EQ(after.endpoints[0].key, before.endpoints[0].key);
  EXPECT_EQ(after.endpoints[0].address, "10.0.0.1:7073");
  EXPECT_TRUE(after.endpoints[0].address_configured);
  ASSERT_TRUE(after.endpoints[0].configured.has_value());
  EXPECT_EQ(after.endpoints[0].configured->address, "10.0.0.9:7073");
  EXPECT_EQ(after.endpoints[0].configured->weight, 4);
  EXPECT_TRUE(after.endpoints[0].learned);
  EXPECT_EQ(after.endpoints[0].agent_id, "agent-1");
  EXPECT_EQ(after.endpoints[0].agent_boot_id, "b1");
  EXPECT_EQ(after.endpoints[0].server_boot_id, "s1");
  EXPECT_EQ(after.endpoints[0].capacity, before.endpoints[0].capacity);
  EXPECT_EQ(after.endpoints[0].theta, -0.3);
  EXPECT_EQ(after.endpoints[0].slow_start_seconds, 12.5);
  EXPECT_EQ(after.endpoints[0].weight, 1.23);
  ASSERT_EQ(after.admin.size(), 2u);
  EXPECT_TRUE(after.admin[0].draining);
  EXPECT_FALSE(after.admin[0].pin.has_value());
  EXPECT_EQ(after.admin[1].pin, 3.5);
  ASSERT_EQ(after.departed.size(), 1u);
  EXPECT_EQ(after.departed[0].capacity, 0.7);
}

// A weight that a restart changes in its last digits would be sent to every proxy again.
TEST_F(StateStoreTest, NumbersSurviveARoundTripExactly) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> any_exponent(-9, 5.9);
  for (int i = 0; i < 1000; ++i) {
    StoredState before = Full();
    StoredEndpoint& endpoint = before.endpoints[0];
    endpoint.capacity = std::pow(10, any_exponent(random));
    endpoint.weight = i;
    endpoint.theta = -endpoint.capacity / 1e6;
    const absl::StatusOr<StoredState> after =
        StateStore::FromText(StateStore::ToText(before), "state");
    ASSERT_TRUE(after.ok()) << after.status();
    EXPECT_EQ(after->endpoints[0].capacity, endpoint.capacity);
    EXPECT_EQ(after->endpoints[0].weight, endpoint.weight);
    EXPECT_EQ(after->endpoints[0].theta, endpoint.theta);
  }
}

TEST_F(StateStoreTest, BrokenFileIsUnchangedAndItsErrorNamesPositionAndRemedy) {
  const std::string broken = "format: 1\nsnapshot { epoch: what }\n";
  Write(broken);
  const absl::Status status = LoadError();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(status.message(), HasSubstr(path_ + ":2:"));
  EXPECT_THAT(status.message(), HasSubstr("move the file away"));
  EXPECT_EQ(*ReadFile(path_), broken);
}

TEST_F(StateStoreTest, TruncatedFileIsNeverAccepted) {
  const std::string whole = StateStore::ToText(Full());
  const size_t last_value = whole.find("complete: ") + std::string("complete: ").size();
  for (size_t length = 0; length <= last_value; ++length) {
    EXPECT_FALSE(StateStore::FromText(whole.substr(0, length), "cut").ok()) << length;
  }
}

TEST_F(StateStoreTest, FileOfANewerFormatIsRefused) {
  std::string text = StateStore::ToText(Full());
  text.replace(text.find("format: 1"), 9, "format: 2");
  EXPECT_THAT(StateStore::FromText(text, "state").status().message(),
              HasSubstr("expected 1; got 2"));
}

TEST_F(StateStoreTest, NumberThatCannotHaveBeenLearnedIsRefused) {
  for (const char* number : {"nan", "-1", "inf", "1e300"}) {
    std::string text = StateStore::ToText(Full());
    const size_t at = text.find("weight: 1.23");
    text.replace(at, 12, std::string("weight: ") + number);
    EXPECT_THAT(StateStore::FromText(text, "state").status().message(), HasSubstr("db/a"))
        << number;
  }
}

TEST_F(StateStoreTest, RandomDamageNeverCrashes) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const std::string whole = StateStore::ToText(Full());
  for (int i = 0; i < 2000; ++i) {
    std::string damaged = whole;
    for (int j = 0; j < 3; ++j) damaged[random() % damaged.size()] = static_cast<char>(random());
    StateStore::FromText(damaged, "damaged").IgnoreError();
  }
}

}  // namespace
}  // namespace trunkline
