#include "common/observe/log_writer.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

namespace trunkline {
namespace {

// How long Flush waits for a descriptor that accepts nothing, and in total.
constexpr std::chrono::milliseconds kMaxStall{500};
constexpr std::chrono::seconds kMaxFlush{5};

bool Accepts(int fd) {
  pollfd event = {.fd = fd, .events = POLLOUT, .revents = 0};
  return poll(&event, 1, 0) == 1;
}

// Returns false if the descriptor fails, for example because its reader is gone or the disk full.
bool WriteAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<size_t>(written));
    } else if (errno == EAGAIN) {
      // Another process made the shared descriptor non-blocking.
      pollfd event = {.fd = fd, .events = POLLOUT, .revents = 0};
      poll(&event, 1, -1);
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

}  // namespace

struct LogWriter::State {
  State(int descriptor, size_t max_bytes, DropNotice drop_notice)
      : fd(descriptor), max_queued_bytes(max_bytes), notice(std::move(drop_notice)) {}

  // Writes lines until the queue is empty after `stopping`.
  void Run();

  bool Idle() const { return queue.empty() && !writing; }
  void DropOldest() {
    queued_bytes -= queue.front().size();
    queue.pop_front();
    ++dropped;
    ++unreported;
  }

  const int fd;
  const size_t max_queued_bytes;
  const DropNotice notice;

  std::mutex mutex;  // guards everything below
  std::condition_variable has_work;
  std::condition_variable progress;
  std::deque<std::string> queue;
  size_t queued_bytes = 0;
  bool writing = false;
  bool stopping = false;
  uint64_t handled = 0;     // lines that left the queue for the descriptor
  uint64_t dropped = 0;     // since construction
  uint64_t unreported = 0;  // since the last notice that was written
};

void LogWriter::State::Run() {
  std::unique_lock<std::mutex> lock(mutex);
  while (true) {
    has_work.wait(lock, [&] { return !queue.empty() || stopping; });
    if (queue.empty()) return;
    std::string text = std::move(queue.front());
    queue.pop_front();
    queued_bytes -= text.size();
    const uint64_t reported = unreported;
    writing = true;
    lock.unlock();
    if (reported > 0) text.insert(0, notice(reported));
    const bool written = WriteAll(fd, text);
    lock.lock();
    writing = false;
    ++handled;
    if (written) {
      unreported -= reported;
    } else {
      ++dropped;
      ++unreported;
    }
    progress.notify_all();
  }
}

LogWriter::LogWriter(int fd, size_t max_queued_bytes, DropNotice notice)
    : state_(std::make_shared<State>(fd, max_queued_bytes, std::move(notice))) {
  // Otherwise the thread could take a stop signal that main waits for.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread([state = state_] { state->Run(); }).detach();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

LogWriter::~LogWriter() {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  state_->stopping = true;
  state_->has_work.notify_one();
}

void LogWriter::Write(std::string line) {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  state_->queued_bytes += line.size();
  state_->queue.push_back(std::move(line));
  while (state_->queued_bytes > state_->max_queued_bytes) state_->DropOldest();
  state_->has_work.notify_one();
}

bool LogWriter::Flush() {
  State& state = *state_;
  const auto deadline = std::chrono::steady_clock::now() + kMaxFlush;
  std::unique_lock<std::mutex> lock(state.mutex);
  while (!state.Idle()) {
    const uint64_t before = state.handled;
    const bool moved =
        state.progress.wait_for(lock, kMaxStall, [&] { return state.handled != before; });
    if (!moved && !Accepts(state.fd)) return false;
    if (std::chrono::steady_clock::now() > deadline) return false;
  }
  return true;
}

uint64_t LogWriter::dropped() const {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  return state_->dropped;
}

}  // namespace trunkline
