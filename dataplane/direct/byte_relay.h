// One direction of a flow between two sockets.
//
// Small exchanges are read and written through a buffer of the thread: two system calls, no pipe. A
// read that fills the buffer is taken for bulk, and from there on the bytes go by splice(2) and
// never pass through our memory; when the source runs dry the pipe goes back to the thread's spare
// ones. What the sink does not take stays here and the source is not read meanwhile, so an idle or
// stalled direction holds at most one buffer or pipe. splice: Linux, splice(2).
//
// It decides nothing about connecting, time-outs or the other direction. Confined to its worker's
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
    kMore,         // its turn is over, there is more: call again in the next pass
    kEnded,        // the source's FIN has been passed on
    kSourceBroke,  // a reset, and everything before it has been passed on
    kSinkBroke,    // the sink takes nothing any more; said once
  };

  // To be sent before anything is read. Before the first Pump.
  void Prime(std::span<const uint8_t> bytes);
  // Moves what can be moved. `*moved` grows by the bytes that the sink took.
  Result Pump(int source, int sink, uint64_t* moved);

  bool ended() const { return ended_; }
  // Bytes that were read and not written.
  bool holds_bytes() const { return piped_ > 0 || unsent_ != nullptr; }
  size_t held_bytes() const { return piped_ + (unsent_ != nullptr ? unsent_->size() : 0); }
  // Those of them that are the kernel's, in a pipe.
  size_t piped_bytes() const { return piped_; }

  // Set by the owner as epoll tells.
  bool readable = true;
  bool writable = true;
  // The source's peer has reset it: where its bytes end, that is no FIN.
  bool source_broken = false;
  // The source's FIN is in: a short read does not mean that it ran dry.
  bool source_fin = false;
  // Set by the owner before the first Pump: where its thread has as many, bytes are copied.
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
  enum class Step { kGoOn, kBlocked, kEnd, kBroken };

  static std::vector<std::unique_ptr<Pipe>>& SparePipes();
  // In use and spare.
  static size_t& PipesOfThread();
  static std::unique_ptr<Pipe> TakePipe(size_t max_pipes);
  void GivePipe();
  Step Read(int source, int sink, uint64_t* moved);
  Step ReadCopying(int source, int sink, uint64_t* moved);
  Step ReadSplicing(int source);
  Step Classify(ssize_t n);
  bool Write(int sink, uint64_t* moved);
  bool WriteBuffer(int sink, uint64_t* moved);
  bool WritePipe(int sink, uint64_t* moved);
  void Keep(std::span<const uint8_t> bytes);

  std::unique_ptr<OutputBuffer> unsent_;
  std::unique_ptr<Pipe> pipe_;  // while it carries bulk
  size_t piped_ = 0;
  bool sink_broke_ = false;
  bool ended_ = false;
};

}  // namespace trunkline
