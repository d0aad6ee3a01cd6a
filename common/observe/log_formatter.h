// Formats log lines: one event is one line, even if its message contains line breaks.
//
//   text  2026-01-02T03:04:05.678Z info trunkline-proxy: trunk to 10.0.0.7:7073 lost
//   json
//   {"time":"2026-01-02T03:04:05.678Z","level":"info","program":"trunkline-proxy","message":"..."}
//
// Immutable after construction; called by a sink under the sink's lock.
#pragma once

#include <spdlog/formatter.h>

#include <memory>
#include <string>

#include "common/observe/log.h"

namespace trunkline {

class LogFormatter : public spdlog::formatter {
 public:
  LogFormatter(std::string program, LogFormat format);

  void format(const spdlog::details::log_msg& event, spdlog::memory_buf_t& out) override;
  std::unique_ptr<spdlog::formatter> clone() const override;

 private:
  const std::string program_;
  const LogFormat format_;
};

}  // namespace trunkline
