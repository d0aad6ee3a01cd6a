// Tests that errors in a configuration file name the line, the field and the valid values.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <random>
#include <string>

#include "absl/status/status.h"
#include "common/config/config.h"
#include "tests/common/config/config_test_message.pb.h"

namespace trunkline {
namespace {

using test::Everything;
using testing::HasSubstr;
using testing::StartsWith;

std::string Errors(const std::string& yaml) {
  Everything message;
  const absl::Status status = ParseConfig(yaml, "c.yaml", &message);
  if (status.ok()) return "no error";
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

TEST(ConfigErrorTest, UnknownFieldNamesTheNearestOne) {
  EXPECT_EQ(Errors("text: x\nflga: true\n"),
            "c.yaml:2: flga: unknown field; did you mean \"flag\"?");
  EXPECT_EQ(Errors("nested:\n  name: n\n  listen: a:1\n  colour: red\n"),
            "c.yaml:4: nested.colour: unknown field; expected one of name, listen, weight, tags");
}

TEST(ConfigErrorTest, WrongTypeNamesTheExpectedOne) {
  EXPECT_EQ(Errors("flag: yes\n"), "c.yaml:1: flag: expected true or false; got \"yes\"");
  EXPECT_EQ(Errors("small_unsigned: -1\n"),
            "c.yaml:1: small_unsigned: expected a whole number of at least 0; got \"-1\"");
  EXPECT_EQ(Errors("small_signed: 1.5\n"),
            "c.yaml:1: small_signed: expected a whole number; got \"1.5\"");
  EXPECT_EQ(Errors("share: half\n"),
            "c.yaml:1: share: expected a number from 0 to 1; got \"half\"");
  EXPECT_EQ(Errors("speed: warp\n"), "c.yaml:1: speed: expected slow or very_fast; got \"warp\"");
  EXPECT_EQ(
      Errors("timeout: 3\n"),
      "c.yaml:1: timeout: expected a duration from 50ms to 10m, for example 500ms, 3s or 1h30m; "
      "got \"3\"");
  EXPECT_EQ(Errors("buffer_bytes: 64kb\n"),
            "c.yaml:1: buffer_bytes: expected a size in bytes from 1024 to 1073741824, for example "
            "4096 or 64KiB; got \"64kb\"");
}

TEST(ConfigErrorTest, WrongShapeNamesTheActualOne) {
  EXPECT_EQ(Errors("text: [a]\n"), "c.yaml:1: text: expected text; got a list");
  EXPECT_EQ(Errors("text: {a: b}\n"), "c.yaml:1: text: expected text; got a map");
  EXPECT_EQ(Errors("flag: true\ntext:\nshare: 1\n"), "c.yaml:2: text: expected text; got nothing");
  EXPECT_EQ(Errors("nested: x\n"),
            "c.yaml:1: nested: expected a map of fields (Nested); got \"x\"");
  EXPECT_EQ(Errors("services: {name: a}\n"),
            "c.yaml:1: services: expected a list (lines that start with \"- \"); got a map");
  EXPECT_EQ(Errors("services:\n"),
            "c.yaml:1: services: expected a list (lines that start with \"- \"); got nothing");
  EXPECT_EQ(Errors("labels: [a]\n"),
            "c.yaml:1: labels: expected a map of names to values; got a list");
  EXPECT_EQ(Errors("labels: {a: [b]}\n"), "c.yaml:1: labels.a: expected text; got a list");
  EXPECT_EQ(Errors("services: [x]\n"),
            "c.yaml:1: services[0]: expected a map of fields (Nested); got \"x\"");
  EXPECT_EQ(Errors("? [a, b]\n: c\n"), "c.yaml:1: expected a field name; got a list");
}

TEST(ConfigErrorTest, ErrorInAScalarForAListNamesTheFieldWithoutAnIndex) {
  EXPECT_EQ(Errors("text: x\nports: 0\n"),
            "c.yaml:2: ports: expected a whole number from 1 to 65535; got \"0\"");
  EXPECT_EQ(Errors("ports: {a: b}\n"),
            "c.yaml:1: ports: expected a whole number from 1 to 65535, or a list of such values; "
            "got a map");
  EXPECT_EQ(Errors("text: x\nspeeds:\n"),
            "c.yaml:2: speeds: expected slow or very_fast, or a list of such values; got nothing");
  EXPECT_EQ(Errors("ports:\n- 80\n- [81]\n"),
            "c.yaml:3: ports[1]: expected a whole number from 1 to 65535; got a list");
  EXPECT_EQ(Errors("places: {listen: nine}\n"),
            "c.yaml:1: places.listen: expected host:port, for example 0.0.0.0:9000; got \"nine\"");
}

TEST(ConfigErrorTest, RequiredListIsNotEmpty) {
  const std::string expected = "expected host:port, for example 0.0.0.0:9000; got ";
  EXPECT_EQ(Errors("places:\n  listen: []\n"),
            "c.yaml:2: places.listen: " + expected + "an empty list");
  EXPECT_EQ(Errors("places: {listen: ''}\n"), "c.yaml:1: places.listen: " + expected + "\"\"");
  EXPECT_EQ(Errors("places:\n  listen:\n  - h:1\n  - ''\n"),
            "c.yaml:4: places.listen[1]: " + expected + "\"\"");
  EXPECT_EQ(Errors("places: {}\n"),
            "c.yaml:1: places.listen: missing; expected host:port, for example 0.0.0.0:9000");
}

// YAML takes them for lists, maps and aliases, in each place in another way.
TEST(ConfigErrorTest, AddressThatNeedsQuotationMarksIsNamedInListsToo) {
  for (const char* text : {"[::]:9000", "[fe80::1]:9000", "*:9000", "[::1]", "[::]"}) {
    const std::string address = text;
    for (const std::string& yaml :
         {"places: {listen: " + address + "}\n", "places:\n  listen: " + address + "\n",
          "places: {listen: [" + address + "]}\n", "places: {listen: ['h:1', " + address + "]}\n",
          "places: {listen: ['h:1'," + address + ", 'h:2']}\n",
          "places:\n  listen:\n  - h:1\n  - " + address + "\n"}) {
      const char* shown = address[0] == '*' ? "quotation marks: \"*:9000" : "quotation marks: \"[";
      EXPECT_THAT(Errors(yaml), HasSubstr(shown)) << yaml;
    }
  }
  EXPECT_THAT(Errors("places: {listen: ['::1:9000']}\n"), HasSubstr("needs brackets"));
}

TEST(ConfigErrorTest, ValueOutsideItsBoundsIsRefused) {
  EXPECT_THAT(Errors("share: 1.01\n"), HasSubstr("from 0 to 1; got \"1.01\""));
  EXPECT_THAT(Errors("share: nan\n"), HasSubstr("from 0 to 1; got \"nan\""));
  EXPECT_THAT(Errors("timeout: 49ms\n"), HasSubstr("from 50ms to 10m"));
  EXPECT_THAT(Errors("timeout: 10m1ns\n"), HasSubstr("from 50ms to 10m"));
  EXPECT_THAT(Errors("unbounded_wait: -1s\n"), HasSubstr("expected a duration"));
  EXPECT_THAT(Errors("buffer_bytes: 2GiB\n"), HasSubstr("from 1024 to 1073741824"));
  EXPECT_EQ(Errors("ports: [80, 0, 65536]\n"),
            "c.yaml:1: ports[1]: expected a whole number from 1 to 65535; got \"0\"\n"
            "c.yaml:1: ports[2]: expected a whole number from 1 to 65535; got \"65536\"");
}

TEST(ConfigErrorTest, ValueOutsideItsTypesRangeIsRefused) {
  for (const char* line :
       {"small_signed: 2147483648", "small_signed: -2147483649",
        "large_signed: 9223372036854775808", "small_unsigned: 4294967296",
        "large_unsigned: 18446744073709551616", "by_port: {-1: true}", "single: 1e39"}) {
    EXPECT_THAT(Errors(line), HasSubstr("expected a")) << line;
  }
}

TEST(ConfigErrorTest, MissingFieldIsReportedAtItsMap) {
  EXPECT_EQ(Errors("text: x\nservices:\n- name: a\n  listen: a:1\n- name: b\n"),
            "c.yaml:5: services[1].listen: missing; expected host:port, for example 0.0.0.0:9000");
  EXPECT_THAT(Errors("nested: {name: ''\n, listen: a:1}\n"),
              StartsWith("c.yaml:1: nested.name: expected text; got \"\""));
}

TEST(ConfigErrorTest, MalformedAddressIsRefused) {
  EXPECT_EQ(Errors("nested:\n  name: n\n  listen: nine\n"),
            "c.yaml:3: nested.listen: expected host:port, for example 0.0.0.0:9000; got \"nine\"");
  EXPECT_EQ(Errors("address: 10.0.0.1\n"),
            "c.yaml:1: address: expected host:port, [ipv6]:port or unix:/path; got \"10.0.0.1\"");
}

TEST(ConfigErrorTest, KeyGivenTwiceNamesBothLines) {
  EXPECT_EQ(Errors("text: a\nflag: true\ntext: b\n"),
            "c.yaml:3: text: given twice; first on line 1");
  EXPECT_EQ(Errors("labels:\n  a: 1\n  a: 2\n"),
            "c.yaml:3: labels.a: given twice; first on line 2");
}

TEST(ConfigErrorTest, EveryErrorIsReportedInTheOrderOfTheFile) {
  EXPECT_EQ(Errors("services:\n- name: a\n  weight: 65\n  lisen: a:1\nflag: 1\n"),
            "c.yaml:2: services[0].listen: missing; expected host:port, for example 0.0.0.0:9000\n"
            "c.yaml:3: services[0].weight: expected a whole number from 1 to 64; got \"65\"\n"
            "c.yaml:4: services[0].lisen: unknown field; did you mean \"listen\"?\n"
            "c.yaml:5: flag: expected true or false; got \"1\"");
}

TEST(ConfigErrorTest, FloodOfErrorsIsCut) {
  std::string yaml = "ports:\n";
  for (int i = 0; i < 250; ++i) yaml += "- x\n";
  const std::string errors = Errors(yaml);
  EXPECT_EQ(std::count(errors.begin(), errors.end(), '\n'), 100);
  EXPECT_THAT(errors, HasSubstr("c.yaml: 150 more errors"));
}

TEST(ConfigErrorTest, FileWithoutFieldsIsRefused) {
  for (const char* yaml : {"", "\n\n", "# only a comment\n", "---\n", "~\n"}) {
    EXPECT_THAT(Errors(yaml), StartsWith("c.yaml:1: empty; expected lines")) << yaml;
  }
}

TEST(ConfigErrorTest, RootThatIsNotAMapIsRefused) {
  EXPECT_EQ(Errors("- a\n- b\n"), "c.yaml:1: expected lines of the form \"field: value\"");
  EXPECT_EQ(Errors("# c\njust words\n"), "c.yaml:2: expected lines of the form \"field: value\"");
  EXPECT_THAT(Errors("text: a\n---\ntext: b\n"), HasSubstr("c.yaml:2: expected one YAML document"));
}

TEST(ConfigErrorTest, StrayTokensEndWithAnErrorAndNotWithAllMemory) {
  EXPECT_EQ(Errors(",text: a\n"),
            "c.yaml:1: not YAML: no value can begin here (a stray comma or bracket?)");
  for (const char* yaml : {",", "text: a\n]", "}", "- a\n, b\n", ",?a[ b{x:c? "}) {
    EXPECT_THAT(Errors(yaml), StartsWith("c.yaml:")) << yaml;
  }
}

TEST(ConfigErrorTest, TabInTheIndentationIsNamed) {
  EXPECT_EQ(Errors("nested:\n\tname: n\n \tlisten: a:1\n"),
            "c.yaml:2: tab in the indentation; expected spaces\n"
            "c.yaml:3: tab in the indentation; expected spaces");
}

TEST(ConfigErrorTest, BrokenYamlNamesItsLine) {
  EXPECT_THAT(Errors("text: a\nports: [1, 2\n"), HasSubstr("not YAML: "));
  EXPECT_THAT(Errors("text: a\nflag: true\n  share: 1\n"), StartsWith("c.yaml:3: not YAML: "));
  EXPECT_THAT(Errors("text: *nowhere\n"), StartsWith("c.yaml:1: not YAML: "));
  EXPECT_THAT(Errors("text: a\n}\n"), HasSubstr("not YAML: "));
}

TEST(ConfigErrorTest, OpenQuotationDoesNotSwallowTheRestOfTheFile) {
  EXPECT_THAT(Errors("flag: true\ntext: \"open\nshare: 1\n"), StartsWith("c.yaml:3: not YAML: "));
  EXPECT_THAT(Errors("text: 'open\n\n"), StartsWith("c.yaml:1: not YAML: "));
}

TEST(ConfigErrorTest, TextThatIsNotUtf8IsRefused) {
  EXPECT_EQ(Errors("flag: true\ntext: a\xff\n"), "c.yaml:2: text: expected UTF-8 text");
}

TEST(ConfigErrorTest, ControlCharactersAreRefused) {
  EXPECT_EQ(Errors("text: \"a\\0b\"\n"),
            "c.yaml:1: text: expected text without control characters");
  EXPECT_EQ(Errors("separator: \"\\xff\"\n"), "no error") << "a character, not a byte";
  EXPECT_EQ(Errors("separator: \xff\n"), "c.yaml:1: separator: expected UTF-8 text");
}

TEST(ConfigErrorTest, DepthAndSizeAreBounded) {
  EXPECT_NE(Errors(std::string(100'000, '[')), "no error");
  EXPECT_NE(Errors("text: " + std::string(100'000, '{')), "no error");
  std::string nested;
  for (int i = 0; i < 5'000; ++i) nested += std::string(static_cast<size_t>(i), ' ') + "a:\n";
  EXPECT_THAT(Errors(nested), StartsWith("c.yaml:1: "));
  EXPECT_THAT(Errors(std::string(5'000'000, ' ')), HasSubstr("expected at most"));
}

TEST(ConfigErrorTest, BytesThatAreNotTextNeverCrash) {
  const std::string good =
      "text: \"a\"\nservices:\n- {name: a, listen: \"h:1\", tags: [x, y]}\nlabels: {a: &b c}\n"
      "timeout: 3s\nbuffer_bytes: 64KiB\n";
  const unsigned seed = 20240611;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 3000; ++round) {
    std::string yaml = good;
    const size_t changes = 1 + random() % 4;
    for (size_t i = 0; i < changes; ++i) yaml[random() % yaml.size()] = static_cast<char>(random());
    Everything message;
    if (ParseConfig(yaml, "c.yaml", &message).ok()) {
      EXPECT_FALSE(message.SerializeAsString().empty()) << yaml;
    }
  }
}

}  // namespace
}  // namespace trunkline
