// Client connections on which everything was said while the client may still be sending: an upload
// that its server has refused, a request after the last one.
//
// Closed at once, the first byte that comes then would be answered with a reset, and that takes the
// last words along if the client has not read them yet. So only our side is ended, and what the
// client sends is read and dropped until it ends its own side. Not for long, and not for many: a
// client that goes on gets its reset after all.
//
// Who ends a flow counts it before its connection comes here.
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
  // What was said needs a round trip to be heard, and a client that writes without reading a moment
  // more to notice.
  static constexpr absl::Duration kPatience = absl::Seconds(5);
  // At once. They count as no clients any more, so they live on descriptors that nobody set aside.
  static constexpr size_t kMost = 64;

  explicit LingeringCloses(EventLoop& loop, absl::Duration patience = kPatience);
  ~LingeringCloses();

  // Takes a client's socket that is not in the loop; its last words were handed to the kernel.
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
