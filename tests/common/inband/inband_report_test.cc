#include "common/inband/inband_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace trunkline {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::string Written(std::string_view service, ServerLoad load) {
  uint8_t bytes[kMaxLoadLineBytes];
  const size_t size = WriteInbandReport({service, load}, bytes);
  return {reinterpret_cast<const char*>(bytes), size};
}

struct Heard {
  std::string service;
  ServerLoad load;
  friend bool operator==(const Heard&, const Heard&) = default;
};

// All reports that `reader` reads from `bytes` in pieces of `piece` bytes.
std::vector<Heard> Read(InbandReportReader& reader, const std::string& bytes,
                        size_t piece = 10'000) {
  std::vector<Heard> heard;
  for (size_t at = 0; at < bytes.size(); at += piece) {
    const std::string part = bytes.substr(at, piece);
    std::span<const uint8_t> left(reinterpret_cast<const uint8_t*>(part.data()), part.size());
    InbandReport word;
    while (reader.Next(left, &word)) heard.push_back({std::string(word.service), word.load});
    EXPECT_TRUE(left.empty() || reader.broken());
  }
  return heard;
}

TEST(InbandReportTest, LineIsServiceActiveAndUtilization) {
  EXPECT_EQ(Written("metering", {.active = 17, .utilization = 523}), "metering 17 523\n");
  EXPECT_EQ(Written("db", {.active = 0}), "db 0 -\n");
  EXPECT_EQ(Written("db", {.active = UINT32_MAX, .utilization = ServerLoad::kMaxUtilization}),
            "db 4294967295 99999\n");
}

TEST(InbandReportTest, ReportIsReadBackFromPiecesOfAnySize) {
  const std::vector<Heard> said = {
      {"metering", {.active = 17, .utilization = 523}},
      {"db", {.active = 0}},
      {std::string(238, 'x'), {.active = UINT32_MAX, .utilization = 99'999}}};
  std::string bytes;
  for (const Heard& one : said) bytes += Written(one.service, one.load);
  for (size_t piece = 1; piece <= bytes.size(); ++piece) {
    InbandReportReader reader;
    EXPECT_EQ(Read(reader, bytes, piece), said) << piece;
  }
}

TEST(InbandReportTest, ServiceThatDoesNotFitIntoALineHasNoReport) {
  for (const std::string& name : {std::string(), std::string("a b"), std::string("a\nb"),
                                  std::string("\xc3\xa4"), std::string(239, 'x')}) {
    EXPECT_EQ(Written(name, {}), "") << name;
  }
}

TEST(InbandReportTest, LaterVersionsMayAddFields) {
  InbandReportReader reader;
  EXPECT_THAT(
      Read(reader, "db 1 2 3 four\nweb 5 -\n"),
      ElementsAre(Heard{"db", {.active = 1, .utilization = 2}}, Heard{"web", {.active = 5}}));
}

TEST(InbandReportTest, MalformedLineEndsTheReading) {
  for (const std::string line :
       {"\n", "db\n", "db 1\n", "db x 1\n", "db 1 x\n", "db 1x 1\n", "db -1 1\n", "db +1 1\n",
        "db 1 100000\n", "db 4294967296 1\n", "db  1 1\n", " db 1 1\n", "db 1 \n", "d\tb 1 1\n",
        "db 1 1\r\n", "<html>\n"}) {
    InbandReportReader reader;
    EXPECT_THAT(Read(reader, line + "db 1 1\n"), IsEmpty()) << line;
    EXPECT_TRUE(reader.broken()) << line;
  }
}

TEST(InbandReportTest, LineOfMaximumSizeIsReadAndALongerOneRefused) {
  const std::string fits = "db 1 1 " + std::string(kMaxLoadLineBytes - 8, 'x') + "\n";
  ASSERT_EQ(fits.size(), kMaxLoadLineBytes);
  InbandReportReader good;
  EXPECT_EQ(Read(good, fits).size(), 1u);
  for (const size_t piece : {1, 100, 10'000}) {
    InbandReportReader reader;
    EXPECT_THAT(Read(reader, "x" + fits, piece), IsEmpty());
    EXPECT_TRUE(reader.broken()) << "in pieces of " << piece;
  }
}

}  // namespace
}  // namespace trunkline
