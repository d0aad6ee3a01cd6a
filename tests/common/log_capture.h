// The log lines of this process while the object lives. Thread-safe.
#pragma once

#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <utility>

namespace trunkline::test {

class LogCapture {
 public:
  LogCapture() : before_(spdlog::default_logger()) {
    auto logger = std::make_shared<spdlog::logger>("capture", std::make_shared<Sink>(*this));
    spdlog::set_default_logger(std::move(logger));
  }
  ~LogCapture() { spdlog::set_default_logger(before_); }

  std::string text() const {
    const std::lock_guard lock(mutex_);
    return text_;
  }
  // Lines that contain `words`.
  int Count(const std::string& words) const {
    std::istringstream lines(text());
    int count = 0;
    for (std::string line; std::getline(lines, line);) count += line.find(words) != line.npos;
    return count;
  }

 private:
  class Sink final : public spdlog::sinks::base_sink<std::mutex> {
   public:
    explicit Sink(LogCapture& to) : to_(to) {}

   private:
    void sink_it_(const spdlog::details::log_msg& message) override {
      const std::lock_guard lock(to_.mutex_);
      to_.text_.append(message.payload.data(), message.payload.size()).push_back('\n');
    }
    void flush_() override {}

    LogCapture& to_;
  };

  const std::shared_ptr<spdlog::logger> before_;
  mutable std::mutex mutex_;
  std::string text_;
};

}  // namespace trunkline::test
