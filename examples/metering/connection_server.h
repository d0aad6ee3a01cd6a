// Serves connections that carry frames: one epoll loop accepts, reads, extracts frames and writes
// the answers. It knows nothing of readings or databases.
//
// A peer costs bounded memory (one partial frame and a bounded number of unanswered frames). Idle
// peers are closed, peers above the limit wait in the listen queue, and a lack of file descriptors
// pauses accepting. An answer goes to the connection that asked or is dropped: a ConnectionId is
// never reused.
//
// A peer that half-closes still gets its answers; a peer that closes is forgotten at once. Run() is
// confined to one thread; Answer, StillOpen and Stop are thread-safe.
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

// File descriptor and generation; 0 names no connection.
using ConnectionId = uint64_t;

class ConnectionServer {
 public:
  struct Options {
    std::vector<Address> listen;
    // Further peers wait in the listen queue.
    size_t max_connections = 16'000;
    // Limit of frames per connection without an answer; at the limit the connection is not read.
    uint32_t max_unanswered = 64;
    // Closes a connection that neither sends nor awaits an answer for this long.
    absl::Duration idle_timeout = absl::Seconds(60);
  };
  // Receives a whole message on the loop's thread; the view is valid during the call. After OK the
  // connection expects exactly one answer. An error means a protocol violation and closes it.
  using FrameHandler = std::function<absl::Status(ConnectionId, std::string_view message)>;
  struct Reply {
    ConnectionId connection = 0;
    std::string frame;  // whole frames
  };

  // Binds at once. The error for an address in use names the address.
  static absl::StatusOr<std::unique_ptr<ConnectionServer>> Listen(Options options,
                                                                  FrameHandler handler);
  ~ConnectionServer();

  // The addresses that it listens on, ports filled in.
  const std::vector<Address>& addresses() const { return addresses_; }

  // Serves until Stop, then for at most `grace` until every frame is answered. Returns the number
  // of unanswered frames.
  size_t Run(absl::Duration grace);

  void Stop();
  void Answer(std::vector<Reply> replies);
  // Returns false once the peer is known to have closed.
  bool StillOpen(ConnectionId id) const;

 private:
  struct Connection {
    uint32_t generation = 0;
    bool open = false;
    bool peer_finishes = false;  // its end was reported, perhaps behind bytes not read yet
    bool peer_finished = false;  // half-closed: sends no more
    uint32_t unanswered = 0;
    std::string in;   // a partial frame
    std::string out;  // bytes that the socket has not accepted yet
  };

  ConnectionServer(Options options, FrameHandler handler, size_t max_fds);
  absl::Status Watch();

  // Handles events; waits for them until `until` or the next alarm.
  void OnePass(MonotonicTime until);
  // When an idle connection expires or accepting may resume.
  MonotonicTime NextAlarm() const;
  bool MayResumeAccepting() const;
  void Accept(int listener);
  void PauseAccepting(bool pause);
  void Serve(ConnectionId id, uint32_t events);
  void Read(int fd);
  // Returns false if the connection was closed.
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

  // Generations by file descriptor, odd while open; StillOpen reads them on any thread.
  std::vector<std::atomic<uint32_t>> generations_;
  std::atomic<bool> stopping_{false};
  absl::Mutex mutex_;
  std::vector<Reply> replies_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace trunkline::metering
