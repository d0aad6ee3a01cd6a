#include "common/observe/log.h"

#include <spdlog/sinks/stdout_sinks.h>

#include <memory>

#include "common/observe/log_formatter.h"

namespace trunkline {

void InitLog(const std::string& program, LogFormat format, spdlog::level::level_enum level) {
  auto logger =
      std::make_shared<spdlog::logger>(program, std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_formatter(std::make_unique<LogFormatter>(program, format));
  logger->set_level(level);
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace trunkline
