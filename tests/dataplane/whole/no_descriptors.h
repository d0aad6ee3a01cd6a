// A process that has run out of file descriptors.
#pragma once

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "common/base/unique_fd.h"
#include "common/net/socket.h"
#include "tests/common/net/tcp_pair.h"

// UBSan inspects a type through a pipe when it first meets it. Without descriptors it reports every
// such object as invalid, so tests that call much of the program without them begin with this.
#ifdef __SANITIZE_ADDRESS__
#define TRUNKLINE_SKIP_UNDER_SANITIZERS() \
  GTEST_SKIP() << "the sanitizers need descriptors of their own"
#else
#define TRUNKLINE_SKIP_UNDER_SANITIZERS() static_cast<void>(0)
#endif

namespace trunkline::test {

// Takes every descriptor below a limit just above those in use; gives them back on demand.
class NoDescriptors {
 public:
  NoDescriptors() {
    getrlimit(RLIMIT_NOFILE, &before_);
    UniqueFd probe(dup(0));
    rlimit low = before_;
    low.rlim_cur = static_cast<rlim_t>(probe.get()) + 16;
    probe.Reset();
    setrlimit(RLIMIT_NOFILE, &low);
    while (true) {
      UniqueFd filler(dup(0));
      if (!filler) break;
      fillers_.push_back(std::move(filler));
    }
  }
  ~NoDescriptors() { GiveBack(); }
  // Frees one descriptor, for the first to ask.
  void GiveOneBack() { fillers_.pop_back(); }
  void GiveBack() {
    fillers_.clear();
    setrlimit(RLIMIT_NOFILE, &before_);
  }

 private:
  rlimit before_{};
  std::vector<UniqueFd> fillers_;
};

// Creates a socket before descriptors run out; ConnectSocket connects it afterwards.
inline UniqueFd NewClientSocket() { return UniqueFd(socket(AF_INET, SOCK_STREAM, 0)); }
inline Peer ConnectSocket(UniqueFd socket, const Address& to) {
  const SocketAddress where = ResolveAddress(to).value();
  EXPECT_EQ(connect(socket.get(), reinterpret_cast<const sockaddr*>(&where.storage), where.size),
            0);
  return Peer(std::move(socket));
}

}  // namespace trunkline::test
