// Writes lines to a descriptor from a thread of its own, so that a reader that stops blocks that
// thread and no caller.
//
// Lines wait in a queue that is bounded by bytes. A full queue drops its oldest line, because the
// newest ones describe the present state. Dropped lines are counted, and the first line that the
// descriptor accepts afterwards is preceded by a notice with their number. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace trunkline {

class LogWriter {
 public:
  // Returns the line that reports `count` dropped lines. Called on the writer's thread.
  using DropNotice = std::function<std::string(uint64_t count)>;

  // `fd` is borrowed and stays open until the process ends. Its flags stay as they are, since other
  // processes may share it. The thread that this starts receives no signals.
  LogWriter(int fd, size_t max_queued_bytes, DropNotice notice);
  // Does not wait: queued lines are still written unless the process ends first.
  ~LogWriter();
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;

  // Queues `line`, which contains its line break. Never waits for the descriptor.
  void Write(std::string line);

  // Waits until all queued lines are written and returns true. Returns false if the descriptor
  // accepts nothing for half a second, or after five seconds.
  bool Flush();

  // Lines that were dropped since construction: for lack of room, or because a write failed.
  uint64_t dropped() const;

 private:
  struct State;
  // Shared with the thread, which may be stuck in a write for as long as the process lives.
  const std::shared_ptr<State> state_;
};

}  // namespace trunkline
