// Connections that carry frames: one epoll loop that accepts, reads, cuts out frames, and writes
// the answers.
//
// It knows nothing of readings or databases. What it promises: a peer costs bounded memory (one
// partial frame, a bounded number of unanswered frames), a silent peer is closed, too many peers
// wait in the listen queue, and running out of file descriptors pauses accepting instead of ending
// the server. An answer goes to the connection that asked or to nobody: a ConnectionId is never
// used again.
//
// A peer that shuts down its sending side still gets its answers; one that closed altogether is
// forgotten at once. Run() is confined to one thread; Answer, StillOpen and Stop are thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/unique_fd.h"
#include "common/net/address.h"
#include "examples/metering/idle_list.h"

namespace trunkline::metering {

// File descriptor and generation; 0 is nobody.
using ConnectionId = uint64_t;

class ConnectionServer {
 public:
  struct Options {
    std::vector<Address> listen;
    // Above it, new peers wait in the listen queue.
    size_t max_connections = 16'000;
    // Frames of one connection that may wait for their answer; above it, the connection is not
    // read.
    uint32_t max_unanswered = 64;
    // A connection that neither sends nor waits for an answer for this long is closed.
    absl::Duration idle_timeout = absl::Seconds(60);
  };
  // A whole message, on the loop's thread; the view is valid during the call. Each OK asks for
  // exactly one answer. Anything else means that the peer broke the protocol: the connection is
  // closed.
  using FrameHandler = std::function<absl::Status(ConnectionId, std::string_view message)>;
  struct Reply {
    ConnectionId connection = 0;
    std::string frame;  // whole frames
  };

  // Binds at once; an address in use is an error that names it.
  static absl::StatusOr<std::unique_ptr<ConnectionServer>> Listen(Options options,
                                                                  FrameHandler handler);
  ~ConnectionServer();

  // Where it listens, ports filled in.
  const std::vector<Address>& addresses() const { return addresses_; }

  // Serves until Stop; then answers what was asked, for at most `grace`, and returns how many
  // frames went unanswered.
  size_t Run(absl::Duration grace);

  void Stop();
  void Answer(std::vector<Reply> replies);
  // False once the peer is known to have closed.
  bool StillOpen(ConnectionId id) const;

 private:
  struct Connection {
    uint32_t generation = 0;
    bool open = false;
    bool peer_finished = false;  // it will send no more
    uint32_t unanswered = 0;
    std::string in;   // a partial frame
    std::string out;  // what the socket did not take
  };

  ConnectionServer(Options options, FrameHandler handler, size_t max_fds);
  absl::Status Watch();

  void OnePass(int timeout_ms);
  void Accept(int listener);
  void PauseAccepting(bool pause);
  void Serve(ConnectionId id, uint32_t events);
  void Read(int fd);
  // False when the connection was closed.
  bool TakeFrames(int fd, std::string_view bytes);
  void DeliverReplies();
  void Send(int fd, std::string frame);
  void CloseWhenDone(int fd);
  void Close(int fd);
  void CloseIdle(MonotonicTime now);
  Connection* Find(ConnectionId id);

  const Options options_;
  const FrameHandler handler_;
  std::vector<Address> addresses_;

  // Loop-confined.
  UniqueFd epoll_, wake_;
  std::vector<UniqueFd> listeners_;
  std::vector<Connection> connections_;  // by file descriptor
  IdleList idle_;
  std::vector<char> read_buffer_;
  MonotonicTime now_;
  MonotonicTime accept_again_at_;
  size_t open_connections_ = 0;
  size_t unanswered_ = 0;
  bool accepting_paused_ = false;

  // Generations by file descriptor, odd while open: what StillOpen reads.
  std::vector<std::atomic<uint32_t>> generations_;
  std::atomic<bool> stopping_{false};
  absl::Mutex mutex_;
  std::vector<Reply> replies_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace trunkline::metering
