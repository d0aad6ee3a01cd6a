// The server behind every proxy of a benchmark: echoes bytes and closes when its client closes. It
// has one thread and makes as few system calls as a plain server needs, so that a benchmark
// measures the proxies. It listens on TCP and on a unix socket, so that one process serves both
// sides of a comparison. On a bulk port a client requests a number of bytes with eight bytes (big
// endian); a sink port reads and never answers.
#include <endian.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <string>
#include <utility>
#include <vector>

#include "common/base/unique_fd.h"
#include "common/net/address.h"
#include "common/net/socket.h"

namespace {

constexpr int kMaxEvents = 256;

struct Server {
  trunkline::UniqueFd epoll{epoll_create1(0)};
  std::vector<trunkline::UniqueFd> listeners;
  std::vector<trunkline::UniqueFd> bulk_listeners;
  std::vector<trunkline::UniqueFd> paced_listeners;
  std::vector<trunkline::UniqueFd> sink_listeners;
  unsigned bytes_per_second = 0;  // per paced connection
  int64_t cost_nanos = 0;         // CPU time that an echo takes
  int64_t wait_nanos = 0;         // time that it waits besides, one at a time
  bool hangs_up = false;          // reads requests and closes instead
  std::array<char, 65536> buffer;
  std::array<char, 262144> filling{};
  // By descriptor: whether it is a bulk or a sink client, and the bytes still owed to a bulk
  // client.
  std::vector<bool> bulk;
  std::vector<bool> sink;
  std::vector<uint64_t> owed;

  void Watch(int fd, uint32_t events) const {
    epoll_event event{.events = events, .data = {.fd = fd}};
    epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event);
  }
  static bool Has(const std::vector<trunkline::UniqueFd>& sockets, int fd) {
    return std::any_of(sockets.begin(), sockets.end(),
                       [&](const auto& socket) { return socket.get() == fd; });
  }

  // Reads at once, since the request usually arrives with the connection.
  void Accept(int listener) {
    for (int i = 0; i < 16; ++i) {
      const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      if (Echo(fd)) Watch(fd, EPOLLIN);
    }
  }
  void AcceptSink(int listener) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    sink.resize(std::max(sink.size(), static_cast<size_t>(fd) + 1));
    sink[fd] = true;
    Watch(fd, EPOLLIN);
  }
  void AcceptBulk(int listener) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    if (Has(paced_listeners, listener)) {
      setsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &bytes_per_second, sizeof bytes_per_second);
    }
    const size_t places = std::max(owed.size(), static_cast<size_t>(fd) + 1);
    owed.resize(places);
    bulk.resize(places);
    owed[fd] = 0;
    bulk[fd] = true;
    Watch(fd, EPOLLIN | EPOLLOUT | EPOLLET);
  }

  static int64_t CpuNanos() {
    timespec used{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return used.tv_sec * 1'000'000'000 + used.tv_nsec;
  }
  // CPU time, not time: a server under a quota takes longer.
  void Work() const {
    if (wait_nanos > 0) {
      const timespec wait{.tv_sec = wait_nanos / 1'000'000'000,
                          .tv_nsec = wait_nanos % 1'000'000'000};
      nanosleep(&wait, nullptr);
    }
    if (cost_nanos == 0) return;
    for (const int64_t end = CpuNanos() + cost_nanos; CpuNanos() < end;) {
    }
  }

  // Returns false if the connection ended and is closed.
  bool Echo(int fd) {
    const ssize_t n = recv(fd, buffer.data(), buffer.size(), 0);
    const bool waits = n < 0 && errno == EAGAIN;
    if (n > 0) Work();
    if (n > 0 && !hangs_up && send(fd, buffer.data(), n, MSG_NOSIGNAL) == n) return true;
    if (waits) return true;
    close(fd);
    return false;
  }
  void Pour(int fd) {
    uint64_t wanted = 0;
    const ssize_t n = recv(fd, &wanted, sizeof wanted, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) return End(fd);
    if (n == sizeof wanted) owed[fd] += be64toh(wanted);
    while (owed[fd] > 0) {
      const ssize_t sent =
          send(fd, filling.data(), std::min<uint64_t>(owed[fd], filling.size()), MSG_NOSIGNAL);
      if (sent < 0 && errno == EAGAIN) return;
      if (sent < 0) return End(fd);
      owed[fd] -= static_cast<uint64_t>(sent);
    }
  }
  void Swallow(int fd) {
    const ssize_t n = recv(fd, filling.data(), filling.size(), 0);
    if (n > 0 || (n < 0 && errno == EAGAIN)) return;
    sink[fd] = false;
    close(fd);
  }
  void End(int fd) {
    bulk[fd] = false;
    close(fd);
  }

  void Run() {
    std::array<epoll_event, kMaxEvents> events;
    while (true) {
      const int count = epoll_wait(epoll.get(), events.data(), kMaxEvents, -1);
      for (int i = 0; i < count; ++i) Handle(events[i].data.fd);
    }
  }
  void Handle(int fd) {
    if (Has(listeners, fd)) {
      Accept(fd);
    } else if (Has(bulk_listeners, fd) || Has(paced_listeners, fd)) {
      AcceptBulk(fd);
    } else if (Has(sink_listeners, fd)) {
      AcceptSink(fd);
    } else if (static_cast<size_t>(fd) < sink.size() && sink[fd]) {
      Swallow(fd);
    } else if (static_cast<size_t>(fd) < bulk.size() && bulk[fd]) {
      Pour(fd);
    } else {
      Echo(fd);
    }
  }
};

bool Listen(const std::string& where, std::vector<trunkline::UniqueFd>* sockets) {
  const auto address = trunkline::ParseAddress(where);
  if (!address.ok()) {
    std::fprintf(stderr, "%s\n", address.status().ToString().c_str());
    return false;
  }
  auto listener = trunkline::ListenOn(*address);
  if (!listener.ok()) {
    std::fprintf(stderr, "%s\n", listener.status().ToString().c_str());
    return false;
  }
  sockets->push_back(*std::move(listener));
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Echo server for benchmarks"};
  std::vector<std::string> echo;
  std::vector<std::string> bulk;
  app.add_option("--listen", echo, "host:port or unix:/path that echoes")->required();
  app.add_option("--bulk", bulk,
                 "host:port or unix:/path that sends the requested number of bytes");
  std::vector<std::string> paced;
  unsigned pace = 0;
  app.add_option("--paced-bulk", paced, "like --bulk, limited to --pace");
  app.add_option("--pace", pace, "bytes per second of a paced connection");
  std::vector<std::string> sink;
  app.add_option("--sink", sink, "host:port or unix:/path that reads and discards");
  int64_t cost_us = 0;
  app.add_option("--cost-us", cost_us, "microseconds of CPU time that each echo takes");
  int64_t wait_ms = 0;
  app.add_option("--wait-ms", wait_ms, "milliseconds that each echo waits, one at a time");
  bool hangs_up = false;
  app.add_flag("--hang-up", hangs_up, "close after a request instead of answering");
  CLI11_PARSE(app, argc, argv);
  static Server server;
  server.cost_nanos = cost_us * 1000;
  server.wait_nanos = wait_ms * 1'000'000;
  server.hangs_up = hangs_up;
  server.bytes_per_second = pace;
  for (const std::string& where : echo) {
    if (!Listen(where, &server.listeners)) return 1;
  }
  for (const std::string& where : bulk) {
    if (!Listen(where, &server.bulk_listeners)) return 1;
  }
  for (const std::string& where : paced) {
    if (!Listen(where, &server.paced_listeners)) return 1;
  }
  for (const std::string& where : sink) {
    if (!Listen(where, &server.sink_listeners)) return 1;
  }
  for (const auto& socket : server.sink_listeners) server.Watch(socket.get(), EPOLLIN);
  for (const auto& socket : server.paced_listeners) server.Watch(socket.get(), EPOLLIN);
  for (const auto& socket : server.listeners) server.Watch(socket.get(), EPOLLIN);
  for (const auto& socket : server.bulk_listeners) server.Watch(socket.get(), EPOLLIN);
  std::printf("listening\n");
  std::fflush(stdout);
  server.Run();
}
