#include "common/base/utf8.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <string>

namespace trunkline {
namespace {

TEST(Utf8PrefixTest, ShortTextIsUnchanged) {
  EXPECT_EQ(Utf8Prefix("", 0), "");
  EXPECT_EQ(Utf8Prefix("abc", 3), "abc");
  EXPECT_EQ(Utf8Prefix("\xc3\xa4", 2), "\xc3\xa4");
}

TEST(Utf8PrefixTest, LongTextIsCutBetweenCharacters) {
  // One, two, three and four bytes.
  const std::string text = "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80z";
  const size_t expected[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11};
  for (size_t max = 0; max <= text.size(); ++max) {
    const std::string_view prefix = Utf8Prefix(text, max);
    EXPECT_EQ(prefix, text.substr(0, expected[max])) << max;
    EXPECT_TRUE(IsUtf8(prefix)) << max;
  }
}

TEST(Utf8PrefixTest, TextOfContinuationBytesIsCutToNothing) {
  EXPECT_EQ(Utf8Prefix("\x80\x80\x80\x80", 3), "");
}

}  // namespace
}  // namespace trunkline
