// A link with delay between two network namespaces, for benchmarks between distant places. Each end
// is a TUN device; a packet that enters one end leaves the other after --delay-us. Packets keep
// their order, and none is lost.
//
// Prints a line when both devices exist and runs until it is stopped. The caller assigns addresses.
// See networking/tuntap of the kernel's documentation.
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/base/unique_fd.h"

namespace trunkline {
namespace {

constexpr size_t kMaxPacket = 65536;
// Keeps one direction from starving the other.
constexpr int kPacketsPerTurn = 64;

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "delay_line: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

UniqueFd OpenEnd(const std::string& name_space, const std::string& device) {
  const std::string path = "/run/netns/" + name_space;
  const UniqueFd there(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!there || setns(there.get(), CLONE_NEWNET) != 0) Fail(path);
  UniqueFd end(open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!end) Fail("/dev/net/tun");
  ifreq request{};
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  device.copy(static_cast<char*>(request.ifr_name), IFNAMSIZ - 1);
  if (ioctl(end.get(), TUNSETIFF, &request) != 0) Fail("a TUN device in " + name_space);
  return end;
}

// One direction of the link.
class Direction {
 public:
  Direction(int from, int to, absl::Duration delay) : from_(from), to_(to), delay_(delay) {}

  void TakeIn() {
    for (int i = 0; i < kPacketsPerTurn; ++i) {
      const ssize_t n = read(from_, buffer_.data(), buffer_.size());
      if (n <= 0) return;
      packets_.push_back({MonotonicNow() + delay_, {buffer_.data(), buffer_.data() + n}});
    }
  }
  void HandOut() {
    while (!packets_.empty() && packets_.front().due <= MonotonicNow()) {
      const std::vector<char>& bytes = packets_.front().bytes;
      if (write(to_, bytes.data(), bytes.size()) < 0 && errno == EAGAIN) return;
      packets_.pop_front();
    }
  }
  MonotonicTime due() const {
    return packets_.empty() ? MonotonicTime::Infinite() : packets_.front().due;
  }

 private:
  struct Packet {
    MonotonicTime due;
    std::vector<char> bytes;
  };
  const int from_;
  const int to_;
  const absl::Duration delay_;
  std::vector<char> buffer_ = std::vector<char>(kMaxPacket);
  std::deque<Packet> packets_;
};

void Run(int near, int far, absl::Duration delay) {
  Direction there(near, far, delay);
  Direction back(far, near, delay);
  for (;;) {
    pollfd ends[] = {{near, POLLIN, 0}, {far, POLLIN, 0}};
    const MonotonicTime due = std::min(there.due(), back.due());
    const absl::Duration wait = std::max(absl::ZeroDuration(), due - MonotonicNow());
    const timespec timeout = absl::ToTimespec(std::min(wait, absl::Seconds(1)));
    if (ppoll(ends, 2, &timeout, nullptr) < 0 && errno != EINTR) Fail("ppoll");
    there.TakeIn();
    back.TakeIn();
    there.HandOut();
    back.HandOut();
  }
}

}  // namespace
}  // namespace trunkline

int main(int argc, char** argv) {
  CLI::App app("A link with delay between two network namespaces.");
  std::string near;
  std::string far;
  std::string device = "line";
  int64_t delay_us = 10'000;
  app.add_option("--near", near, "network namespace of one end")->required();
  app.add_option("--far", far, "network namespace of the other end")->required();
  app.add_option("--device", device, "name of the TUN device in both namespaces");
  app.add_option("--delay-us", delay_us, "delay in each direction, in microseconds");
  CLI11_PARSE(app, argc, argv);
  const trunkline::UniqueFd near_end = trunkline::OpenEnd(near, device);
  const trunkline::UniqueFd far_end = trunkline::OpenEnd(far, device);
  std::printf("ready\n");
  std::fflush(stdout);
  trunkline::Run(near_end.get(), far_end.get(), absl::Microseconds(delay_us));
}
