#include "dataplane/direct/byte_relay.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "common/net/socket.h"

namespace trunkline {
namespace {

constexpr size_t kCopyBytes = 64 * 1024;
// A pipe's size: enough that a turn is a few system calls, little enough for thousands of them.
constexpr int kPipeBytes = 256 * 1024;
// What one direction moves in a turn, so that its neighbours get theirs.
constexpr uint64_t kBytesPerTurn = 1024 * 1024;
// Empty pipes that a thread keeps: a stream that often runs dry would else make one each time.
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

// Only an empty one.
void ByteRelay::GivePipe() {
  if (pipe_ != nullptr && SparePipes().size() < kSparePipes) {
    SparePipes().push_back(std::move(pipe_));
  }
  pipe_.reset();
}

void ByteRelay::Prime(std::span<const uint8_t> bytes) {
  if (!bytes.empty()) Keep(bytes);
}

void ByteRelay::Keep(std::span<const uint8_t> bytes) {
  if (unsent_ == nullptr) unsent_ = std::make_unique<OutputBuffer>();
  unsent_->Append(bytes.data(), bytes.size());
}

ByteRelay::Result ByteRelay::Pump(int source, int sink, uint64_t* moved) {
  if (ended_) return Result::kEnded;
  if (sink_broke_) return Result::kWaiting;
  const uint64_t turn_ends = *moved + kBytesPerTurn;
  while (*moved < turn_ends) {
    if (!Write(sink, moved)) return sink_broke_ ? Result::kSinkBroke : Result::kWaiting;
    if (!readable) return Result::kWaiting;
    switch (Read(source, sink, moved)) {
      case Step::kGoOn:
        continue;
      case Step::kBlocked:
        readable = false;
        GivePipe();
        return Result::kWaiting;
      case Step::kEnd:
        // What was read in the same step may still be here.
        if (!Write(sink, moved)) return sink_broke_ ? Result::kSinkBroke : Result::kWaiting;
        shutdown(sink, SHUT_WR);
        ended_ = true;
        return Result::kEnded;
      case Step::kBroken:
        return Result::kSourceBroke;
    }
  }
  return Result::kMore;
}

// What a read's result means where it brought no bytes.
ByteRelay::Step ByteRelay::Classify(ssize_t n) {
  if (n == 0) return source_broken ? Step::kBroken : Step::kEnd;
  if (errno == EINTR) return Step::kGoOn;
  return WouldBlock(errno) ? Step::kBlocked : Step::kBroken;
}

ByteRelay::Step ByteRelay::Read(int source, int sink, uint64_t* moved) {
  return pipe_ != nullptr ? ReadSplicing(source) : ReadCopying(source, sink, moved);
}

ByteRelay::Step ByteRelay::ReadCopying(int source, int sink, uint64_t* moved) {
  uint8_t* const buffer = CopyBuffer();
  const ssize_t n = recv(source, buffer, kCopyBytes, 0);
  if (n <= 0) return Classify(n);
  const auto size = static_cast<size_t>(n);
  ssize_t sent = writable ? send(sink, buffer, size, MSG_NOSIGNAL) : 0;
  if (sent < 0 && !WouldBlock(errno)) sink_broke_ = true;
  if (sent < 0) sent = 0;
  *moved += static_cast<uint64_t>(sent);
  if (static_cast<size_t>(sent) < size) {
    writable = false;
    Keep({buffer + sent, size - static_cast<size_t>(sent)});
  } else if (size == kCopyBytes) {
    pipe_ = TakePipe(max_pipes);  // without one, copying goes on
  }
  // A short read emptied the socket, unless a FIN or a reset waits behind it.
  if (size < kCopyBytes) readable = source_fin || source_broken;
  return Step::kGoOn;
}

ByteRelay::Step ByteRelay::ReadSplicing(int source) {
  const ssize_t n = splice(source, nullptr, pipe_->in.get(), nullptr, kPipeBytes,
                           SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (n <= 0) return Classify(n);
  piped_ += static_cast<size_t>(n);
  return Step::kGoOn;
}

// False: the sink takes no more at present, or broke.
bool ByteRelay::Write(int sink, uint64_t* moved) {
  if (!holds_bytes()) return true;
  if (!writable) return false;
  return WriteBuffer(sink, moved) && WritePipe(sink, moved);
}

bool ByteRelay::WriteBuffer(int sink, uint64_t* moved) {
  while (unsent_ != nullptr) {
    const ssize_t n = send(sink, unsent_->data(), unsent_->size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      sink_broke_ = !WouldBlock(errno);
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
      sink_broke_ = n < 0 && !WouldBlock(errno);
      writable = false;
      return false;
    }
    *moved += static_cast<uint64_t>(n);
    piped_ -= static_cast<size_t>(n);
  }
  return true;
}

}  // namespace trunkline
