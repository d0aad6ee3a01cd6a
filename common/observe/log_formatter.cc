#include "common/observe/log_formatter.h"

#include <spdlog/details/log_msg.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/json_text.h"
#include "common/observe/log.h"

namespace trunkline {
namespace {

absl::string_view LevelName(spdlog::level::level_enum level) {
  switch (level) {
    case spdlog::level::trace:
    case spdlog::level::debug:
      return "debug";
    case spdlog::level::info:
      return "info";
    case spdlog::level::warn:
      return "warn";
    default:
      return "error";
  }
}

// Escapes control characters, since a line break in a message would let a peer forge a line.
std::string OneLine(std::string_view message) {
  std::string line;
  line.reserve(message.size());
  for (const char c : message) {
    if (c == '\n') {
      line.append("\\n");
    } else if ((static_cast<uint8_t>(c) < 0x20 && c != '\t') || c == 0x7f) {
      absl::StrAppendFormat(&line, "\\x%02x", static_cast<uint8_t>(c));
    } else {
      line.push_back(c);
    }
  }
  return line;
}

}  // namespace

LogFormatter::LogFormatter(std::string program, LogFormat format)
    : program_(std::move(program)), format_(format) {}

void LogFormatter::format(const spdlog::details::log_msg& event, spdlog::memory_buf_t& out) {
  const std::string time =
      absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::FromChrono(event.time), absl::UTCTimeZone());
  const std::string_view message(event.payload.data(), event.payload.size());
  std::string line;
  if (format_ == LogFormat::kText) {
    line = absl::StrCat(time, " ", LevelName(event.level), " ", program_, ": ", OneLine(message),
                        "\n");
  } else {
    line = absl::StrCat("{\"time\":\"", time, "\",\"level\":\"", LevelName(event.level),
                        "\",\"program\":");
    AppendJsonString(program_, &line);
    line.append(",\"message\":");
    AppendJsonString(message, &line);
    line.append("}\n");
  }
  out.append(line.data(), line.data() + line.size());
}

std::unique_ptr<spdlog::formatter> LogFormatter::clone() const {
  return std::make_unique<LogFormatter>(program_, format_);
}

}  // namespace trunkline
