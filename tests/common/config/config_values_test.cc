#include "common/config/config_values.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/common/config/config_test_message.pb.h"
#include "trunkline/v1/config.pb.h"
#include "trunkline/v1/service.pb.h"

namespace trunkline {
namespace {

TEST(ConfigValuesTest, SizesTakeUnits) {
  EXPECT_EQ(ParseByteSize("4096"), 4096);
  EXPECT_EQ(ParseByteSize("64KiB"), 65536);
  EXPECT_EQ(ParseByteSize("1.5 GiB"), 1610612736);
  EXPECT_EQ(ParseByteSize("10MB"), 10'000'000);
  EXPECT_EQ(ParseByteSize("12B"), 12);
  for (const char* text :
       {"", "KiB", "64kib", "1.0001KiB", "64 K", "1e300GiB", "nanB", "0x10", "-"}) {
    EXPECT_EQ(ParseByteSize(text), std::nullopt) << text;
  }
}

TEST(ConfigValuesTest, IntegersAreWholeAndPlain) {
  EXPECT_EQ(ParseInteger("-3"), -3);
  EXPECT_EQ(ParseInteger("007"), 7);
  for (const char* text : {"", "-", "1.0", "1e3", "0x10", " 1", "1 ", "+1", "--1", "one",
                           "99999999999999999999999999999999999999999999"}) {
    EXPECT_EQ(ParseInteger(text), std::nullopt) << text;
  }
}

TEST(ConfigValuesTest, NumbersAreFinite) {
  EXPECT_EQ(ParseNumber("1e-3"), 0.001);
  for (const char* text : {"", "nan", "inf", "-inf", "1e999", "1,5", " 1", "1s"}) {
    EXPECT_EQ(ParseNumber(text), std::nullopt) << text;
  }
}

TEST(ConfigValuesTest, DurationsHaveUnitsAndEnd) {
  EXPECT_EQ(ParseConfigDuration("1h30m"), absl::Minutes(90));
  EXPECT_EQ(ParseConfigDuration("1d"), absl::Hours(24));
  EXPECT_EQ(ParseConfigDuration("1.5d12h"), absl::Hours(48));
  for (const char* wrong : {"d", "-1d", "1d-2h", "1h1d", "1dd", "nand"}) {
    EXPECT_EQ(ParseConfigDuration(wrong), std::nullopt) << wrong;
  }
  EXPECT_EQ(ParseConfigDuration("0"), absl::ZeroDuration());
  EXPECT_EQ(ParseConfigDuration("1.5s"), absl::Milliseconds(1500));
  for (const char* text : {"", "3", "s", "-3s", "inf", "3 s", "3w", "soon"}) {
    EXPECT_EQ(ParseConfigDuration(text), std::nullopt) << text;
  }
}

TEST(ConfigValuesTest, FindsEnumValueByNameInAnyCaseWithAndWithoutPrefix) {
  const auto& speed = *test::Speed_descriptor();
  for (const char* text : {"SPEED_VERY_FAST", "very_fast", "Very_Fast"}) {
    ASSERT_NE(FindEnumValue(speed, text), nullptr) << text;
    EXPECT_EQ(FindEnumValue(speed, text)->number(), test::SPEED_VERY_FAST);
  }
  for (const char* text :
       {"", "SPEED", "SPEED_", "fast", "unspecified", "SPEED_UNSPECIFIED", "1"}) {
    EXPECT_EQ(FindEnumValue(speed, text), nullptr) << text;
  }
  EXPECT_EQ(EnumChoices(speed), "slow or very_fast");
}

TEST(ConfigValuesTest, EnumsOfTheRealConfigurationHaveNaturalNames) {
  EXPECT_EQ(EnumChoices(*v1::BalancingPolicy_descriptor()),
            "adaptive, static, round_robin, least_request, least_time, random or maglev");
  EXPECT_EQ(EnumChoices(*v1::CpuSource_descriptor()), "auto, cgroup, processes or host");
  EXPECT_EQ(EnumChoices(*v1::ForwardingMode_descriptor()), "tunnel, message or direct");
  EXPECT_EQ(EnumChoices(*v1::ProxyProtocol_descriptor()), "v1, v2 or none");
  EXPECT_EQ(EnumChoices(*v1::LogConfig::Format_descriptor()), "text or json");
  for (const char* text : {"tunnel", "TUNNEL", "FORWARDING_MODE_TUNNEL"}) {
    const auto* mode = FindEnumValue(*v1::ForwardingMode_descriptor(), text);
    ASSERT_NE(mode, nullptr) << text;
    EXPECT_EQ(ShortName(*mode), "tunnel");
  }
}

TEST(ConfigValuesTest, NearestNameIsOneTypingErrorAway) {
  const std::vector<std::string> names = {"listen", "limits", "controller", "name"};
  EXPECT_EQ(NearestName("lisen", names), "listen");
  EXPECT_EQ(NearestName("limit", names), "limits");
  EXPECT_EQ(NearestName("contoller", names), "controller");
  EXPECT_EQ(NearestName("nmae", names), "name");
  EXPECT_EQ(NearestName("colour", names), "");
  EXPECT_EQ(NearestName(std::string(100'000, 'x'), {std::string(64, 'x')}), std::string(64, 'x'));
}

}  // namespace
}  // namespace trunkline
