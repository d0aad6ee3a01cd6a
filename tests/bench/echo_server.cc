// The server behind every proxy of a benchmark: sends back what comes, closes when its client does.
// One thread, epoll, as few system calls as a plain server needs, so that what is measured is the
// proxies. Listens on TCP and a unix socket at once, so that the same process serves both sides of
// a comparison. On a bulk port a client says in eight bytes (big endian) how many it wants and gets
// as many; on a sink port it is read and never answered.
#include <endian.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

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
  unsigned bytes_per_second = 0;  // of each connection there
  std::array<char, 65536> buffer;
  std::array<char, 262144> filling{};
  // By descriptor: is it a bulk client or one that is only read, and the bytes that it still gets.
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

  // Tries the first read at once: the request is usually there with the connection.
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

  // False: the connection is over and closed.
  bool Echo(int fd) {
    const ssize_t n = recv(fd, buffer.data(), buffer.size(), 0);
    const bool waits = n < 0 && errno == EAGAIN;
    if (n > 0 && send(fd, buffer.data(), n, MSG_NOSIGNAL) == n) return true;
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
  app.add_option("--bulk", bulk, "host:port or unix:/path that sends what is asked for");
  std::vector<std::string> paced;
  unsigned pace = 0;
  app.add_option("--paced-bulk", paced, "as --bulk, at --pace");
  app.add_option("--pace", pace, "bytes a second of a connection");
  std::vector<std::string> sink;
  app.add_option("--sink", sink, "host:port or unix:/path that reads whatever comes");
  CLI11_PARSE(app, argc, argv);
  static Server server;
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
