// Passes listening sockets from a running proxy to its successor, so that no connect is lost.
//
//   successor                                        predecessor, which listens on a unix socket
//    | -- connect, "H" version, proxy_id ----------->|
//    |<- "W" version --------------------------------|  or "X" and why it refuses
//    |<- "S" service, its address + a descriptor ----|  one message for each listening socket
//    |<- "A" admin address + a descriptor -----------|
//    |<- "L" + a descriptor -------------------------|  the socket on which it waits for successors
//    |<- "E" ----------------------------------------|  the last one
//    |   (completes every step that can fail)        |
//    | -- "R" -------------------------------------->|  or "X" and why it does not take over
//    |                                               |  stops accepting, its admin server, its name
//    |<- "G" ----------------------------------------|
//    |   (serves for the grace time)                 |  keeps its sockets
//    | -- "D" -------------------------------------->|
//    |<- "B" ----------------------------------------|  finishes its flows and ends
//
// The sockets are the same ones, with the connections that wait in them; if they were closed and
// bound again, the kernel would reset those connections. Only one process accepts at any time.
//
// If the connection ends before "D", the predecessor accepts again. If "D" is late, it sends "T"
// and accepts again, and the successor stops accepting when it reads "T". If the predecessor ends,
// the successor keeps everything.
#pragma once

#include <functional>
#include <string>
#include <thread>

#include "common/base/unique_fd.h"
#include "common/observe/log_pacer.h"
#include "dataplane/listen/inheritance.h"

namespace trunkline {

// A thread that first, in a successor, serves the grace time, and then waits for a successor.
class HandoverServer {
 public:
  // All are called on the server's thread.
  struct Calls {
    // Returns copies of the sockets. After an error the successor is refused.
    std::function<absl::StatusOr<HandoverSockets>()> offer;
    // Stops accepting, the admin server and the subscription, and keeps the sockets.
    std::function<void()> release;
    // Undoes `release`.
    std::function<void()> take_back;
    // The process must end, because another one serves; `why` is for the log. Called at most once,
    // after `release`.
    std::function<void(std::string why)> stop;
  };

  // `listener` is the predecessor's socket, or one of ListenForHandover; without one, no successor
  // is accepted. `predecessor` is the connection to the predecessor in its grace time, if there is
  // one. Constructing a server without descriptors or memory for it aborts the process: it is made
  // at start-up.
  HandoverServer(UniqueFd listener, std::string proxy_id, UniqueFd predecessor, Calls calls,
                 const HandoverTimeouts& timeouts = {});
  // Joins the thread. In the grace time, `release` is called first and the predecessor serves
  // again; while a successor is connected, `release` is called as well, and the successor serves.
  ~HandoverServer();

 private:
  // The part of this process after a hand-over.
  enum class Outcome { kServes, kEnds };

  void Run();
  bool AwaitSuccessor() const;
  void PauseAccepting(int error);
  Outcome ServeGrace();
  Outcome Serve(int peer);
  std::string WhyRefused(int peer) const;
  bool SendAll(int peer, const HandoverSockets& offer);
  Outcome AwaitReady(int peer);
  Outcome AwaitDone(int peer);

  const UniqueFd listener_;
  const UniqueFd stop_;
  const std::string proxy_id_;
  UniqueFd predecessor_;    // used by the thread only
  LogPacer no_accept_log_;  // used by the thread only
  const Calls calls_;
  const HandoverTimeouts timeouts_;
  std::thread thread_;
};

}  // namespace trunkline
