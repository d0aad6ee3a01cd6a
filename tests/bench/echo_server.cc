// The server behind every proxy of a benchmark: sends back what comes, closes when its client does. One thread, epoll,
// as few system calls as a plain server needs, so that what is measured is the proxies. Listens on TCP and a unix socket
// at once, so that the same process serves both sides of a comparison.
#include <sys/epoll.h>
#include <sys/socket.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cerrno>
#include <cstdio>
#include <string>

#include "common/address.h"
#include "common/socket.h"

namespace {

constexpr int kMaxEvents = 256;

struct Server {
  trunkline::UniqueFd epoll{epoll_create1(0)};
  trunkline::UniqueFd tcp;
  trunkline::UniqueFd local;
  std::array<char, 65536> buffer;

  void Watch(int fd, uint32_t events) const {
    epoll_event event{.events = events, .data = {.fd = fd}};
    epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event);
  }

  // Tries the first read at once: the request is usually there with the connection.
  void Accept(int listener) {
    for (int i = 0; i < 16; ++i) {
      const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      if (Echo(fd)) Watch(fd, EPOLLIN);
    }
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

  void Run() {
    std::array<epoll_event, kMaxEvents> events;
    while (true) {
      const int count = epoll_wait(epoll.get(), events.data(), kMaxEvents, -1);
      for (int i = 0; i < count; ++i) {
        const int fd = events[i].data.fd;
        if (fd == tcp.get() || fd == local.get()) {
          Accept(fd);
        } else {
          Echo(fd);
        }
      }
    }
  }
};

bool Listen(const std::string& where, trunkline::UniqueFd* socket) {
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
  *socket = *std::move(listener);
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Echo server for benchmarks"};
  std::string tcp;
  std::string local;
  app.add_option("--tcp", tcp, "host:port to listen on")->required();
  app.add_option("--unix", local, "unix:/path to listen on")->required();
  CLI11_PARSE(app, argc, argv);
  static Server server;
  if (!Listen(tcp, &server.tcp) || !Listen(local, &server.local)) return 1;
  server.Watch(server.tcp.get(), EPOLLIN);
  server.Watch(server.local.get(), EPOLLIN);
  std::printf("listening on port %d\n", trunkline::BoundPort(server.tcp.get()));
  std::fflush(stdout);
  server.Run();
}
