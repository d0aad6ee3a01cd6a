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
  LogCapture() { TheSink()->Begin(*this); }
  ~LogCapture() { TheSink()->End(*this); }
  LogCapture(const LogCapture&) = delete;
  LogCapture& operator=(const LogCapture&) = delete;

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
  // Outlives every capture, because a thread may log while one ends. Passes lines on to the former
  // logger while none lives.
  class Sink final : public spdlog::sinks::base_sink<std::mutex> {
   public:
    void Begin(LogCapture& to) {
      const std::lock_guard lock(mutex_);
      to.outer_ = std::exchange(to_, &to);
      if (spdlog::default_logger() == logger_) return;
      if (logger_ == nullptr) logger_ = std::make_shared<spdlog::logger>("capture", TheSink());
      before_ = spdlog::default_logger();
      spdlog::set_default_logger(logger_);
    }
    void End(LogCapture& from) {
      const std::lock_guard lock(mutex_);
      to_ = from.outer_;
    }

   private:
    void sink_it_(const spdlog::details::log_msg& message) override {
      if (to_ == nullptr) {
        before_->log(message.time, message.source, message.level, message.payload);
        return;
      }
      const std::lock_guard lock(to_->mutex_);
      to_->text_.append(message.payload.data(), message.payload.size()).push_back('\n');
    }
    void flush_() override {}

    std::shared_ptr<spdlog::logger> logger_;
    std::shared_ptr<spdlog::logger> before_;
    LogCapture* to_ = nullptr;
  };

  // Never destroyed.
  static const std::shared_ptr<Sink>& TheSink() {
    static const auto* const sink = new std::shared_ptr<Sink>(std::make_shared<Sink>());
    return *sink;
  }

  LogCapture* outer_ = nullptr;
  mutable std::mutex mutex_;
  std::string text_;
};

}  // namespace trunkline::test
