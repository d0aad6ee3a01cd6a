#include "common/base/state_table.h"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdint>

namespace trunkline {
namespace {

enum class Lamp : uint8_t { kOff, kOn };
enum class Press : uint8_t { kUp, kDown };

constexpr StateTable<Lamp, Press, 2, 2> kLampTable = {{Lamp::kOff, Press::kUp, Lamp::kOn},
                                                      {Lamp::kOn, Press::kDown, Lamp::kOff}};

static_assert(kLampTable.After(Lamp::kOff, Press::kUp) == Lamp::kOn, "usable in constants");
static_assert(!kLampTable.Has(Lamp::kOff, Press::kDown));

TEST(StateTableTest, RowLeadsToItsNextState) {
  EXPECT_EQ(kLampTable.After(Lamp::kOff, Press::kUp), Lamp::kOn);
  EXPECT_EQ(kLampTable.After(Lamp::kOn, Press::kDown), Lamp::kOff);
}

TEST(StateTableDeathTest, EventWithoutARowAbortsReleaseBuildsToo) {
  Lamp lamp = Lamp::kOn;
  EXPECT_EXIT(lamp = kLampTable.After(lamp, Press::kUp), testing::KilledBySignal(SIGABRT),
              "check failed: .*a state gets only the events that its table has for it");
}

}  // namespace
}  // namespace trunkline
