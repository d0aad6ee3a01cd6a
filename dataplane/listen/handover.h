// Listening sockets pass from a running proxy to the one that replaces it: no connect is lost.
//
//   new                                            old, which listens on a unix socket of its own
//   user
//    | -- connect ---------------------------------->|
//    |<- "S" service, its address + a descriptor ----|  one message for each listening socket
//    |<- "E" ----------------------------------------|  that was all
//    |   (serves on them; both accept for a moment)
//    | -- "R" -------------------------------------->|  the old one stops accepting, finishes what
//    it has and ends
//
// The sockets are the same ones, with the connections that wait in them; were they closed and bound
// anew, those would be reset. A new proxy that dies before "R" changes nothing. Packets
// (SOCK_SEQPACKET), so a message is whole or absent.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"

namespace trunkline {

// By service and wanted address, as DataPlane names them.
using ListeningSockets = std::map<std::string, std::vector<UniqueFd>>;

// The new one's side. Confined to main's thread.
class Inheritance {
 public:
  // Empty where nobody answers at `path`. UNAVAILABLE: somebody does, and broke off.
  static absl::StatusOr<Inheritance> Take(const std::string& path);

  bool empty() const { return !peer_; }
  ListeningSockets TakeSockets() { return std::move(sockets_); }
  // We serve: the old one may go.
  void Confirm();

 private:
  UniqueFd peer_;
  ListeningSockets sockets_;
};

// The old one's side: a thread that waits for a successor. Thread-safe.
class HandoverServer {
 public:
  // Copies of the sockets of now.
  using Offer = std::function<ListeningSockets()>;

  // Replaces a socket file that is there: its owner is about to go. `taken` is called once, from
  // the server's thread.
  static absl::StatusOr<std::unique_ptr<HandoverServer>> Start(const std::string& path, Offer offer,
                                                               std::function<void()> taken);
  ~HandoverServer();

 private:
  HandoverServer(UniqueFd listener, Offer offer, std::function<void()> taken);
  void Run();
  bool Serve(int peer);
  bool SendAll(int peer);

  const UniqueFd listener_;
  const UniqueFd stop_;
  const Offer offer_;
  const std::function<void()> taken_;
  std::thread thread_;
};

}  // namespace trunkline
