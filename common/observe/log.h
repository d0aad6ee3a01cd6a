// Logs to standard error through spdlog, as text or as one JSON object per line.
//
// A message names the object, the event and the consequence: LogInfo("trunk to {} lost: {}; {}
// flows reset", ...). Repeated events are logged at transitions only, never per connection.
// Thread-safe.
#pragma once

#include <spdlog/spdlog.h>

#include <string>

namespace trunkline {

enum class LogFormat { kText, kJson };

// Every line contains `program`. Called once, by main, before threads start.
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
