// Logs to standard error through spdlog, as text or as one JSON object per line.
//
// A message names the object, the event and the consequence: LogInfo("trunk to {} lost: {}; {}
// flows reset", ...). Repeated events are logged at transitions only, never per connection.
// Logging never waits for standard error: up to 1 MiB of lines is queued for a thread that writes
// them (log_writer.h), then the oldest lines are dropped and counted. Thread-safe.
#pragma once

#include <spdlog/spdlog.h>

#include <cstdint>
#include <string>

namespace trunkline {

enum class LogFormat { kText, kJson };

// Every line contains `program`. Called once, by main, before threads start.
void InitLog(const std::string& program, LogFormat format, spdlog::level::level_enum level);

// Waits until every line logged so far is written, for half a second at most if standard error
// accepts nothing. Called before the process ends.
void FlushLog();

// Lines that were dropped since InitLog because standard error did not accept them.
uint64_t DroppedLogLines();

// Writes `text` to standard error as it is. Like FlushLog, it gives up if nothing is accepted.
void PrintToStderr(std::string text);

template <typename... Args>
void LogDebug(spdlog::format_string_t<Args...> format, Args&&... args) {
  spdlog::debug(format, std::forward<Args>(args)...);
}
template <typename... Args>
void LogInfo(spdlog::format_string_t<Args...> format, Args&&... args) {
  spdlog::info(format, std::forward<Args>(args)...);
}
template <typename... Args>
void LogWarn(spdlog::format_string_t<Args...> format, Args&&... args) {
  spdlog::warn(format, std::forward<Args>(args)...);
}
template <typename... Args>
void LogError(spdlog::format_string_t<Args...> format, Args&&... args) {
  spdlog::error(format, std::forward<Args>(args)...);
}

}  // namespace trunkline
