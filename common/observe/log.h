// Logs: spdlog behind two calls, text or one JSON object a line, to standard error.
//
// A message says what happened, to whom, and what follows: LogInfo("trunk to {} lost: {}; {} flows
// reset", ...). Repeated events are logged at transitions only (up, down), never for each
// connection. Thread-safe.
#pragma once

#include <spdlog/spdlog.h>

#include <string>

namespace trunkline {

enum class LogFormat { kText, kJson };

// `program` is put into each line. Called once, from main, before threads start.
void InitLog(const std::string& program, LogFormat format, spdlog::level::level_enum level);

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
