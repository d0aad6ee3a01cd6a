#include "common/config/names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/status/status.h"

namespace trunkline {
namespace {

using ::testing::HasSubstr;

TEST(NamesTest, AcceptsPrintableAsciiUpToTheLimit) {
  for (const std::string& name : {std::string("a"), std::string("db-1.example:9"),
                                  std::string("\"quoted\""), std::string(kMaxNameLength, 'x')}) {
    EXPECT_TRUE(IsName(name)) << name;
  }
}

TEST(NamesTest, RefusesNamesThatBreakLabelsTablesOrPaths) {
  for (const std::string& name :
       {std::string(), std::string("two words"), std::string("a/b"), std::string("tab\t"),
        std::string("gr\xc3\xbc\xc3\x9f"), std::string("\x7f"), std::string("a\0b", 3),
        std::string(kMaxNameLength + 1, 'x')}) {
    EXPECT_FALSE(IsName(name)) << name;
  }
}

TEST(NamesTest, ErrorNamesTheFieldAndEscapesTheName) {
  const absl::Status checked = CheckName("agent_id", "a\nb");
  EXPECT_TRUE(absl::IsInvalidArgument(checked));
  EXPECT_THAT(std::string(checked.message()), HasSubstr("agent_id: expected 1 to 128"));
  EXPECT_THAT(std::string(checked.message()), HasSubstr("got \"a\\nb\""));
}

}  // namespace
}  // namespace trunkline
