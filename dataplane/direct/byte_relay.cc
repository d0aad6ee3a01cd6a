#include "dataplane/direct/byte_relay.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "common/net/output_buffer.h"
#include "common/net/socket.h"

namespace trunkline {
namespace {

constexpr size_t kCopyBytes = 64 * 1024;
// Pipe capacity: a turn takes a few system calls, and thousands of pipes fit into memory.
constexpr int kPipeBytes = 256 * 1024;
// Bytes per turn, so that other flows get theirs.
constexpr uint64_t kBytesPerTurn = 1024 * 1024;
// Empty pipes that a thread keeps for reuse; a stream that often runs dry would otherwise create
// one each time.
constexpr size_t kSparePipes = 64;

uint8_t* CopyBuffer() {
  thread_local std::vector<uint8_t> buffer(kCopyBytes);
  return buffer.data();
}

}  // namespace

std::vector<std::unique_ptr<ByteRelay::Pipe>>& ByteRelay::SparePipes() {
  thread_local std::vector<std::unique_ptr<Pipe>> spare;
  return spare;
}

size_t& ByteRelay::PipesOfThread() {
  thread_local size_t pipes = 0;
  return pipes;
}

std::unique_ptr<ByteRelay::Pipe> ByteRelay::TakePipe(size_t max_pipes) {
  if (!SparePipes().empty()) {
    std::unique_ptr<Pipe> pipe = std::move(SparePipes().back());
    SparePipes().pop_back();
    return pipe;
  }
  if (PipesOfThread() >= max_pipes) return nullptr;
  int ends[2];
  if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return nullptr;
  fcntl(ends[1], F_SETPIPE_SZ, kPipeBytes);
  auto pipe = std::make_unique<Pipe>();
  pipe->out.Reset(ends[0]);
  pipe->in.Reset(ends[1]);
  return pipe;
}

// Requires an empty pipe.
void ByteRelay::ReturnPipe() {
  if (pipe_ != nullptr && SparePipes().size() < kSparePipes) {
    SparePipes().push_back(std::move(pipe_));
  }
  pipe_.reset();
}

void ByteRelay::Prime(std::span<const uint8_t> bytes) {
  if (!bytes.empty()) Buffer(bytes);
}

void ByteRelay::Buffer(std::span<const uint8_t> bytes) {
  if (unsent_ == nullptr) unsent_ = std::make_unique<OutputBuffer>();
  unsent_->Append(bytes.data(), bytes.size());
}

ByteRelay::Result ByteRelay::Pump(int source, int sink, uint64_t* moved) {
  if (state_ == State::kEnded) return Result::kEnded;
  if (state_ == State::kSinkBroken) return Result::kWaiting;
  const uint64_t turn_ends = *moved + kBytesPerTurn;
  while (*moved < turn_ends) {
    if (!Write(sink, moved)) return Blocked();
    if (!readable) return Result::kWaiting;
    switch (Read(source, sink, moved)) {
      case Step::kGoOn:
        continue;
      case Step::kBlocked:
        readable = false;
        ReturnPipe();
        return Result::kWaiting;
      case Step::kEnd:
        // Bytes that were read in the same step may still be buffered.
        if (!Write(sink, moved)) return Blocked();
        shutdown(sink, SHUT_WR);
        state_ = State::kEnded;
        return Result::kEnded;
      case Step::kBroken:
        return Result::kSourceBroke;
    }
  }
  return Result::kMore;
}

ByteRelay::Result ByteRelay::Blocked() const {
  return state_ == State::kSinkBroken ? Result::kSinkBroke : Result::kWaiting;
}

ByteRelay::Step ByteRelay::ClassifyEmptyRead(ssize_t n) {
  if (n == 0) return source_end == SourceEnd::kReset ? Step::kBroken : Step::kEnd;
  if (errno == EINTR) return Step::kGoOn;
  return WouldBlock(errno) ? Step::kBlocked : Step::kBroken;
}

ByteRelay::Step ByteRelay::Read(int source, int sink, uint64_t* moved) {
  return pipe_ != nullptr ? ReadSplicing(source) : ReadCopying(source, sink, moved);
}

ByteRelay::Step ByteRelay::ReadCopying(int source, int sink, uint64_t* moved) {
  uint8_t* const buffer = CopyBuffer();
  const ssize_t n = recv(source, buffer, kCopyBytes, 0);
  if (n <= 0) return ClassifyEmptyRead(n);
  const auto size = static_cast<size_t>(n);
  ssize_t sent = writable ? send(sink, buffer, size, MSG_NOSIGNAL) : 0;
  if (sent < 0 && !WouldBlock(errno)) state_ = State::kSinkBroken;
  if (sent < 0) sent = 0;
  *moved += static_cast<uint64_t>(sent);
  if (static_cast<size_t>(sent) < size) {
    writable = false;
    Buffer({buffer + sent, size - static_cast<size_t>(sent)});
  } else if (size == kCopyBytes) {
    pipe_ = TakePipe(max_pipes);  // null: the next read is copied, too
  }
  // A short read emptied the socket, unless a FIN or a reset is behind it.
  if (size < kCopyBytes) readable = source_end != SourceEnd::kOpen;
  return Step::kGoOn;
}

ByteRelay::Step ByteRelay::ReadSplicing(int source) {
  const ssize_t n = splice(source, nullptr, pipe_->in.get(), nullptr, kPipeBytes,
                           SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (n <= 0) return ClassifyEmptyRead(n);
  piped_ += static_cast<size_t>(n);
  return Step::kGoOn;
}

// Returns false if the sink is full or broken.
bool ByteRelay::Write(int sink, uint64_t* moved) {
  if (!has_buffered_bytes()) return true;
  if (!writable) return false;
  return WriteBuffer(sink, moved) && WritePipe(sink, moved);
}

bool ByteRelay::WriteBuffer(int sink, uint64_t* moved) {
  while (unsent_ != nullptr) {
    const ssize_t n = send(sink, unsent_->data(), unsent_->size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      if (!WouldBlock(errno)) state_ = State::kSinkBroken;
      writable = false;
      return false;
    }
    *moved += static_cast<uint64_t>(n);
    unsent_->Consume(static_cast<size_t>(n));
    if (unsent_->empty()) unsent_.reset();
  }
  return true;
}

bool ByteRelay::WritePipe(int sink, uint64_t* moved) {
  while (piped_ > 0) {
    const ssize_t n =
        splice(pipe_->out.get(), nullptr, sink, nullptr, piped_, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      if (n < 0 && !WouldBlock(errno)) state_ = State::kSinkBroken;
      writable = false;
      return false;
    }
    *moved += static_cast<uint64_t>(n);
    piped_ -= static_cast<size_t>(n);
  }
  return true;
}

}  // namespace trunkline
