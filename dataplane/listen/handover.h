// Passes listening sockets from a running proxy to its successor, so that no connect is lost.
//
//   successor                                        predecessor, which listens on a unix socket
//    | -- connect ---------------------------------->|
//    |<- "S" service, its address + a descriptor ----|  one message for each listening socket
//    |<- "E" ----------------------------------------|  the last message
//    |   (serves; both accept for a moment)          |
//    | -- "R" -------------------------------------->|  stops accepting, releases its admin port
//    |<- closes -------------------------------------|  and its name, then finishes its flows
//
// The sockets are the same ones, with the connections that wait in them; if they were closed and
// bound again, the kernel would reset those connections. A successor that dies before "R" changes
// nothing. Messages are packets (SOCK_SEQPACKET), so each is whole or absent.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/base/unique_fd.h"

namespace trunkline {

// Keyed by service and wanted address, as DataPlane names them.
using ListeningSockets = std::map<std::string, std::vector<UniqueFd>>;

// The successor's side. Confined to main's thread.
class Inheritance {
 public:
  // Connects to the proxy that listens at `path` and receives its sockets. Returns an empty
  // Inheritance if `path` is empty or no proxy listens there, and UNAVAILABLE if the predecessor
  // answers but does not send all its sockets.
  static absl::StatusOr<Inheritance> Take(const std::string& path);

  bool empty() const { return !peer_; }
  ListeningSockets TakeSockets() { return std::move(sockets_); }
  // Tells the predecessor that this proxy serves, and waits until it has released its admin port
  // and its name: until it closes the connection, ends, or 10 s have passed.
  void Confirm();

 private:
  UniqueFd peer_;
  ListeningSockets sockets_;
};

// The predecessor's side: a thread that waits for a successor. Thread-safe.
class HandoverServer {
 public:
  // Returns copies of the listening sockets.
  using Offer = std::function<ListeningSockets()>;

  // Listens at `path`; with an empty path, it never accepts a successor. Replaces an existing
  // socket file, because its owner is about to exit. `on_taken` is called once, on the server's
  // thread, after a successor confirmed.
  static absl::StatusOr<std::unique_ptr<HandoverServer>> Start(const std::string& path, Offer offer,
                                                               std::function<void()> on_taken);
  ~HandoverServer();

  // Returns true once a successor has confirmed.
  bool taken() const;
  // Tells the successor that the admin port and the proxy name are free.
  void Release();

 private:
  // Without a listener, the thread ends at once.
  HandoverServer(UniqueFd listener, UniqueFd stop, Offer offer, std::function<void()> on_taken);
  void Run();
  bool Serve(int peer);
  bool SendAll(int peer);

  const UniqueFd listener_;
  const UniqueFd stop_;
  const Offer offer_;
  const std::function<void()> on_taken_;
  mutable absl::Mutex mutex_;
  bool taken_ ABSL_GUARDED_BY(mutex_) = false;
  UniqueFd successor_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace trunkline
