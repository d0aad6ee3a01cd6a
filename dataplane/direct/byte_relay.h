// Moves the bytes of one direction of a flow between two sockets.
//
// Small exchanges are copied through the thread's buffer, which takes two system calls and no pipe.
// A read that fills the buffer indicates bulk: from then on, splice(2) moves the bytes without
// copying them into user space. When the source runs dry, its pipe returns to the thread's spare
// pipes. The relay buffers what the sink does not take and does not read the source meanwhile
// (backpressure), so a direction buffers at most one read or one pipe.
//
// The owner decides about connecting, timeouts and the other direction. Confined to its worker's
// loop; borrows both descriptors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "common/base/unique_fd.h"
#include "common/net/output_buffer.h"
#include "dataplane/limits/descriptor_plan.h"

namespace trunkline {

class ByteRelay {
 public:
  enum class Result {
    kWaiting,      // for an event that sets `readable` or `writable`
    kMore,         // its turn is over with bytes left: call again in the next pass
    kEnded,        // the sink got all bytes and the source's FIN
    kSourceBroke,  // the source was reset; the sink got all bytes before the reset
    kSinkBroke,    // the sink failed; returned once
  };
  // How the source's bytes end, as far as epoll has reported it.
  enum class SourceEnd : uint8_t {
    kOpen,
    kFin,    // a FIN has arrived, so a short read does not mean that the source ran dry
    kReset,  // the end of its bytes is no clean one
  };

  // Queues bytes to be sent before any that are read. Call before the first Pump.
  void Prime(std::span<const uint8_t> bytes);
  // Moves bytes until it would block or its turn is over. Adds those that the sink took to
  // `*moved`.
  Result Pump(int source, int sink, uint64_t* moved);

  bool ended() const { return state_ == State::kEnded; }
  // Bytes that were read and not written; piped_bytes() of them are in a kernel pipe.
  bool has_buffered_bytes() const { return piped_ > 0 || unsent_ != nullptr; }
  size_t buffered_bytes() const { return piped_ + (unsent_ != nullptr ? unsent_->size() : 0); }
  size_t piped_bytes() const { return piped_; }

  // A FIN changes nothing about a source that was reset.
  void OnSourceFin() {
    if (source_end == SourceEnd::kOpen) source_end = SourceEnd::kFin;
  }

  // The owner sets these as epoll reports.
  bool readable = true;
  bool writable = true;
  SourceEnd source_end = SourceEnd::kOpen;
  // The owner sets it before the first Pump. A relay copies while its thread has as many pipes.
  size_t max_pipes = kAnyPipes;

 private:
  struct Pipe {
    Pipe() { ++PipesOfThread(); }
    ~Pipe() { --PipesOfThread(); }
    Pipe(const Pipe&) = delete;
    Pipe& operator=(const Pipe&) = delete;
    UniqueFd out;
    UniqueFd in;
  };
  enum class State : uint8_t { kOpen, kEnded, kSinkBroken };
  enum class Step { kGoOn, kBlocked, kEnd, kBroken };

  static std::vector<std::unique_ptr<Pipe>>& SparePipes();
  // Counts pipes in use and spare ones.
  static size_t& PipesOfThread();
  static std::unique_ptr<Pipe> TakePipe(size_t max_pipes);
  void ReturnPipe();
  Step Read(int source, int sink, uint64_t* moved);
  Step ReadCopying(int source, int sink, uint64_t* moved);
  Step ReadSplicing(int source);
  Step ClassifyEmptyRead(ssize_t n);
  Result Blocked() const;
  bool Write(int sink, uint64_t* moved);
  bool WriteBuffer(int sink, uint64_t* moved);
  bool WritePipe(int sink, uint64_t* moved);
  void Buffer(std::span<const uint8_t> bytes);

  std::unique_ptr<OutputBuffer> unsent_;
  std::unique_ptr<Pipe> pipe_;  // null unless bulk is spliced
  size_t piped_ = 0;            // bytes
  State state_ = State::kOpen;
};

}  // namespace trunkline
