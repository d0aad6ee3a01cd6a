#include "common/observe/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/details/log_msg.h>

#include <chrono>
#include <string>
#include <string_view>

#include "common/observe/log_formatter.h"

namespace trunkline {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;

// 2026-01-02T03:04:05.678Z
const spdlog::log_clock::time_point kTime{std::chrono::milliseconds(1767323045678)};

std::string Formatted(LogFormat format, spdlog::level::level_enum level, std::string_view message) {
  LogFormatter formatter("trunkline-proxy", format);
  const spdlog::details::log_msg event(kTime, {}, "logger", level,
                                       {message.data(), message.size()});
  spdlog::memory_buf_t out;
  formatter.clone()->format(event, out);
  return {out.data(), out.size()};
}

TEST(LogTest, TextLineHasTimeLevelAndProgram) {
  EXPECT_EQ(Formatted(LogFormat::kText, spdlog::level::warn, "trunk lost"),
            "2026-01-02T03:04:05.678Z warn trunkline-proxy: trunk lost\n");
}

TEST(LogTest, LineBreakInAMessageDoesNotForgeALine) {
  EXPECT_EQ(Formatted(LogFormat::kText, spdlog::level::info, "a\nb\x1b[31m"),
            "2026-01-02T03:04:05.678Z info trunkline-proxy: a\\nb\\x1b[31m\n");
}

TEST(LogTest, JsonLineIsOneObject) {
  EXPECT_EQ(Formatted(LogFormat::kJson, spdlog::level::err, "say \"hi\"\nC:\\ \xff\xc3\xa9"),
            R"({"time":"2026-01-02T03:04:05.678Z","level":"error","program":"trunkline-proxy",)"
            R"("message":"say \"hi\"\nC:\\ \ufffd)"
            "\xc3\xa9\"}\n");
}

TEST(LogTest, LevelNamesMatchTheConfiguration) {
  EXPECT_THAT(Formatted(LogFormat::kJson, spdlog::level::debug, ""),
              HasSubstr(R"("level":"debug")"));
  EXPECT_THAT(Formatted(LogFormat::kJson, spdlog::level::info, ""), HasSubstr(R"("level":"info")"));
  EXPECT_THAT(Formatted(LogFormat::kJson, spdlog::level::warn, ""), HasSubstr(R"("level":"warn")"));
}

TEST(LogTest, MessagesBelowTheLevelAreNotWritten) {
  testing::internal::CaptureStderr();
  InitLog("trunkline-test", LogFormat::kText, spdlog::level::warn);
  LogInfo("quiet {}", 1);
  LogWarn("loud {}", 2);
  FlushLog();
  const std::string written = testing::internal::GetCapturedStderr();
  EXPECT_THAT(written, Not(HasSubstr("quiet")));
  EXPECT_THAT(written, MatchesRegex("20.*Z warn trunkline-test: loud 2\n"));
}

}  // namespace
}  // namespace trunkline
