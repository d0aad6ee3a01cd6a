#include "common/config/rule_check.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "tests/common/config/config_test_message.pb.h"

namespace trunkline {
namespace {

using ::testing::StartsWith;

absl::Status Check(const std::string& text) {
  test::Everything message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return CheckRules(message, "wire");
}

TEST(RuleCheckTest, AcceptsValuesInBoundsAndUnsetFields) {
  EXPECT_TRUE(Check("").ok());
  EXPECT_TRUE(Check("share: 1 timeout { seconds: 600 } small_unsigned: 4294967295").ok());
  EXPECT_TRUE(Check("nested { weight: 64 } buffer_bytes: 1024").ok());
}

TEST(RuleCheckTest, NamesPathBoundsAndValue) {
  const std::pair<const char*, const char*> cases[] = {
      {"share: 1.5", "wire.share: expected a number from 0 to 1; got 1.5"},
      {"share: nan", "wire.share: expected a number from 0 to 1; got nan"},
      {"nested { weight: 65 }", "wire.nested.weight: expected a whole number from 1 to 64; got 65"},
      {"buffer_bytes: 18446744073709551615", "wire.buffer_bytes: expected a size in bytes from"},
      {"timeout { seconds: -3 }", "wire.timeout: expected a duration from 50ms to 10m"},
      {"timeout {}", "wire.timeout: expected a duration from 50ms to 10m"},
      {"timeout { seconds: 9223372036854775807 }", "wire.timeout: expected a duration"},
  };
  for (const auto& [text, error] : cases) {
    const absl::Status checked = Check(text);
    EXPECT_TRUE(absl::IsInvalidArgument(checked)) << text;
    EXPECT_THAT(std::string(checked.message()), StartsWith(error));
  }
}

}  // namespace
}  // namespace trunkline
