#include "common/base/json_text.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace trunkline {
namespace {

std::string Json(std::string_view text) {
  std::string out;
  AppendJsonString(text, &out);
  return out;
}

TEST(JsonTextTest, QuotesBackslashesAndControlCharactersAreEscaped) {
  EXPECT_EQ(Json("a \"b\" \\ c"), R"("a \"b\" \\ c")");
  EXPECT_EQ(Json("1\n2\r3\t4"), R"("1\n2\r3\t4")");
  EXPECT_EQ(Json(std::string_view("\0\x01\x1f\x7f", 4)), R"("\u0000\u0001\u001f\u007f")");
  EXPECT_EQ(Json(""), R"("")");
}

TEST(JsonTextTest, Utf8IsKept) {
  // The first and last code points of two, three and four bytes.
  const std::string text =
      "\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf";
  EXPECT_EQ(Json(text), "\"" + text + "\"");
}

TEST(JsonTextTest, BytesThatAreNotUtf8AreReplacedOneByOne) {
  EXPECT_EQ(Json("a\xff"
                 "b"),
            R"("a\ufffdb")");
  EXPECT_EQ(Json("\xc0\xaf"), R"("\ufffd\ufffd")");                      // overlong
  EXPECT_EQ(Json("\xe0\x9f\xbf"), R"("\ufffd\ufffd\ufffd")");            // overlong
  EXPECT_EQ(Json("\xed\xa0\x80"), R"("\ufffd\ufffd\ufffd")");            // surrogate
  EXPECT_EQ(Json("\xf4\x90\x80\x80"), R"("\ufffd\ufffd\ufffd\ufffd")");  // beyond U+10FFFF
  EXPECT_EQ(Json("\xe2\x82"), R"("\ufffd\ufffd")");                      // truncated
  EXPECT_EQ(Json("\xe2\x82x"), R"("\ufffd\ufffdx")");
  EXPECT_EQ(Json("\xf0\x90\x80"), R"("\ufffd\ufffd\ufffd")");
}

}  // namespace
}  // namespace trunkline
