// Closes client connections whose last reply is sent while the client may still be sending: an
// upload that its server refused, or a request after the last one.
//
// If such a connection were closed at once, the client's next byte would be answered with a reset,
// which discards the reply if the client has not read it yet. Instead the proxy ends only its own
// side, and reads and discards the client's bytes until the client ends its side. Time and number
// are bounded: a client that continues beyond them is reset.
//
// A flow is counted as ended before its connection comes here.
//
// Confined to its worker's loop.
#pragma once

#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "common/base/unique_fd.h"
#include "common/net/event_loop.h"

namespace trunkline {

class LingeringCloses {
 public:
  // Allows a round trip for the reply, and time for a client that writes without reading to notice
  // it.
  static constexpr absl::Duration kPatience = absl::Seconds(5);
  // Limit of connections at a time. They no longer count as clients, so no descriptors are reserved
  // for them.
  static constexpr size_t kMost = 64;

  explicit LingeringCloses(EventLoop& loop, absl::Duration patience = kPatience);
  ~LingeringCloses();

  // Takes a client's socket, which is not registered in the loop and whose last reply the kernel
  // has.
  void Add(UniqueFd client);
  size_t size() const { return sockets_.size(); }

 private:
  class Socket;
  void Remove(Socket& socket);

  EventLoop& loop_;
  const absl::Duration patience_;
  std::vector<std::unique_ptr<Socket>> sockets_;
};

}  // namespace trunkline
