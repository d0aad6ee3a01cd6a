#include "common/observe/log.h"

#include <spdlog/sinks/base_sink.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/observe/log_formatter.h"
#include "common/observe/log_writer.h"

namespace trunkline {
namespace {

// About 8000 lines.
constexpr size_t kMaxQueuedBytes = 1 << 20;

// The writer of InitLog, or null before it. Never destroyed, because threads may log until the
// process ends.
std::shared_ptr<LogWriter>& TheWriter() {
  static auto& writer = *new std::shared_ptr<LogWriter>;
  return writer;
}

class WriterSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit WriterSink(std::shared_ptr<LogWriter> writer) : writer_(std::move(writer)) {}

 private:
  void sink_it_(const spdlog::details::log_msg& event) override {
    spdlog::memory_buf_t line;
    formatter_->format(event, line);
    writer_->Write(std::string(line.data(), line.size()));
  }
  void flush_() override {}

  const std::shared_ptr<LogWriter> writer_;
};

std::string DropNotice(LogFormatter& formatter, const std::string& program, uint64_t count) {
  const std::string text =
      absl::StrCat(count, " log lines were dropped because stderr did not accept them; ",
                   "the program that reads it must keep up");
  spdlog::memory_buf_t line;
  formatter.format({program, spdlog::level::warn, text}, line);
  return std::string(line.data(), line.size());
}

}  // namespace

void InitLog(const std::string& program, LogFormat format, spdlog::level::level_enum level) {
  const auto formatter = std::make_shared<LogFormatter>(program, format);
  TheWriter() = std::make_shared<LogWriter>(STDERR_FILENO, kMaxQueuedBytes, [=](uint64_t count) {
    return DropNotice(*formatter, program, count);
  });
  auto logger =
      std::make_shared<spdlog::logger>(program, std::make_shared<WriterSink>(TheWriter()));
  logger->set_formatter(formatter->clone());
  logger->set_level(level);
  spdlog::set_default_logger(std::move(logger));
}

void FlushLog() {
  if (TheWriter() != nullptr) TheWriter()->Flush();
}

uint64_t DroppedLogLines() { return TheWriter() == nullptr ? 0 : TheWriter()->dropped(); }

void PrintToStderr(std::string text) {
  // The text is a single piece, so nothing is ever dropped before it.
  LogWriter writer(STDERR_FILENO, text.size(), [](uint64_t) { return std::string(); });
  writer.Write(std::move(text));
  writer.Flush();
}

}  // namespace trunkline
